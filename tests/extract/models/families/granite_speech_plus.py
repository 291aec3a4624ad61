from __future__ import annotations

from pathlib import Path

from transformers import (
    GraniteSpeechFeatureExtractor,
    GraniteSpeechPlusConfig,
    GraniteSpeechPlusForConditionalGeneration,
    GraniteSpeechProcessor,
)

from tests.extract.models.families.common import save
from tests.extract.models.families.granite_speech import granite_tokenizer, settings

#: Message structure of ibm-granite/granite-speech-4.1-2b-plus: content lists, of which only the text is used; so the text contains <|audio|>.
TEMPLATE = (
    "{% for message in messages %}{% set said = namespace(text='') %}{% if message['content'] is string %}{% set said.text = message['content'] %}"
    "{% else %}{% for item in message['content'] %}{% if item['type'] == 'text' %}{% set said.text = said.text + item['text'] %}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + said.text + '<|end_of_text|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Granite Speech Plus: like Granite Speech, but the projector also reads the encoder's first layer."""
    tokenizer = granite_tokenizer()
    tokenizer.chat_template = None
    encoder = {"model_type": "granite_speech_plus_encoder", "cat_hidden_layers": [1]}
    model = GraniteSpeechPlusForConditionalGeneration(GraniteSpeechPlusConfig(**settings(tokenizer, encoder, 32)))
    save(folder, model, GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer, chat_template=TEMPLATE))
    return 3, 4, 12
