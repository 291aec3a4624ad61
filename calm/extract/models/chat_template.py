"""A chat template round one clip and a text, up to where the model would answer.

Templates differ in where they look: for a clip and a text of the user's, for the text among the system's (Qwen3-ASR),
or for one string with the mark of a sound in it (Granite Speech). A model that would think first is asked not to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm.extract.models.families import Family


def render_audio_prompt(processor: Any, family: Family, text: str) -> str | None:
    """Render a prompt with the mark of one sound; None where the template leaves out the sound or the text."""
    if family.chat is not None:
        return family.chat.replace("{text}", text)
    mark = getattr(processor, "audio_token", None) or ""
    sound, words = {"type": "audio"}, {"type": "text", "text": text}
    for messages in (
        [{"role": "user", "content": [sound, words]}],
        [{"role": "system", "content": [words]}, {"role": "user", "content": [sound]}],
        [{"role": "user", "content": mark + text}],
    ):
        prompt = _rendered(processor, messages)
        if mark in prompt and text.strip() in prompt:
            return prompt + family.header
    return None


def render_video_prompt(processor: Any, family: Family, text: str) -> str | None:
    """Render a prompt with the mark of one video; None where the template leaves out the video or the text."""
    content = [{"type": "video"}, {"type": "text", "text": text}]
    prompt = _rendered(processor, [{"role": "user", "content": content}])
    return prompt + family.header if processor.video_token in prompt and text.strip() in prompt else None


def _rendered(processor: Any, messages: list[dict[str, Any]]) -> str:
    """Render a conversation; nothing where the template takes no such content."""
    import jinja2

    template = processor.chat_template or processor.tokenizer.get_chat_template()
    how = {"chat_template": template, "add_generation_prompt": True, "tokenize": False}
    try:
        prompt: str = processor.apply_chat_template(messages, **how)
        if prompt.rstrip().endswith("<think>"):
            prompt = processor.apply_chat_template(messages, enable_thinking=False, **how)
    except (TypeError, jinja2.TemplateError):
        return ""
    return prompt
