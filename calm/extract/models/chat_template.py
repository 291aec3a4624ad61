"""Prompts with one clip and a text, rendered by a model's chat template up to the beginning of the answer.

Chat templates expect the content in different places: audio and text in the user's message, the text in the system
message (Qwen3-ASR), or one string that contains the audio placeholder (Granite Speech). Models with a thinking mode are
rendered without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm.extract.models.families import Family


def render_audio_prompt(processor: Any, family: Family, text: str) -> str | None:
    """Render a prompt with one audio placeholder; None if the template drops the audio or the text."""
    if family.chat_template is not None:
        return family.chat_template.replace("{text}", text)
    placeholder = getattr(processor, "audio_token", None) or ""
    audio_part, text_part = {"type": "audio"}, {"type": "text", "text": text}
    for messages in (
        [{"role": "user", "content": [audio_part, text_part]}],
        [{"role": "system", "content": [text_part]}, {"role": "user", "content": [audio_part]}],
        [{"role": "user", "content": placeholder + text}],
    ):
        prompt = _render(processor, messages)
        if placeholder in prompt and text.strip() in prompt:
            return prompt + family.answer_prefix
    return None


def render_video_prompt(processor: Any, family: Family, text: str) -> str | None:
    """Render a prompt with one video placeholder; None if the template drops the video or the text."""
    content = [{"type": "video"}, {"type": "text", "text": text}]
    prompt = _render(processor, [{"role": "user", "content": content}])
    return prompt + family.answer_prefix if processor.video_token in prompt and text.strip() in prompt else None


def _render(processor: Any, messages: list[dict[str, Any]]) -> str:
    """Render a conversation; an empty string if the template does not accept its content."""
    import jinja2

    template = processor.chat_template or processor.tokenizer.get_chat_template()
    kwargs = {"chat_template": template, "add_generation_prompt": True, "tokenize": False}
    try:
        prompt: str = processor.apply_chat_template(messages, **kwargs)
        if prompt.rstrip().endswith("<think>"):
            prompt = processor.apply_chat_template(messages, enable_thinking=False, **kwargs)
    except (TypeError, jinja2.TemplateError):
        return ""
    return prompt
