import numpy as np
import pytest
import torch
from transformers import WhisperTokenizer
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from habla_ml.errors import TrainingError
from habla_ml.training.targets import IGNORED_LABEL, TargetEncoder, UntrainableSentenceError
from habla_ml_tests.testing.base_model import BASE_MODEL


@pytest.fixture(scope="module")
def tokenizer() -> WhisperTokenizer:
    return WhisperTokenizer.from_pretrained(BASE_MODEL)


@pytest.fixture(scope="module")
def targets(tokenizer: WhisperTokenizer) -> TargetEncoder:
    return TargetEncoder(tokenizer)


def get_token_ids(tokenizer: WhisperTokenizer, *tokens: str) -> list[int]:
    return [tokenizer.get_vocab()[token] for token in tokens]


def test_labels_are_language_task_notimestamps_text_end_and_no_start(
    tokenizer: WhisperTokenizer, targets: TargetEncoder
) -> None:
    labels = targets.encode("¿Dónde está el lápiz?")
    prompt = get_token_ids(tokenizer, "<|es|>", "<|transcribe|>", "<|notimestamps|>")
    assert list(labels[:3]) == prompt
    assert labels[-1] == get_token_ids(tokenizer, "<|endoftext|>")[0]
    assert targets.start_id not in labels
    assert all(labels.count(each) == 1 for each in (*prompt, labels[-1]))
    assert tokenizer.decode(targets.pieces(labels)) == "¿Dónde está el lápiz?"


def test_labels_equal_the_tokenizers_own_prefix_without_its_start_token(
    tokenizer: WhisperTokenizer, targets: TargetEncoder
) -> None:
    tokenizer.set_prefix_tokens(language="es", task="transcribe", predict_timestamps=False)
    whole = tokenizer("hola, niños").input_ids
    assert whole.count(targets.start_id) == 1
    assert whole == [targets.start_id, *targets.encode("hola, niños")]


def test_after_the_models_own_shift_there_is_one_start_token_and_no_doubled_prefix(
    tokenizer: WhisperTokenizer, targets: TargetEncoder
) -> None:
    batch = [targets.encode("hola"), targets.encode("abrid los libros, por favor")]
    padded = targets.pad(batch)
    shifted = shift_tokens_right(torch.from_numpy(padded.labels), targets.end_id, targets.start_id).numpy()
    assert np.array_equal(padded.decoder_input_ids, shifted)
    assert (shifted == targets.start_id).sum(axis=1).tolist() == [1, 1]
    prompt = get_token_ids(tokenizer, "<|startoftranscript|>", "<|es|>", "<|transcribe|>", "<|notimestamps|>")
    assert shifted[:, :4].tolist() == [prompt, prompt]
    assert not np.isin(shifted[:, 4:], prompt).any()


def test_the_first_label_of_non_speech_is_nospeech_and_the_decoder_gets_the_prompt(
    tokenizer: WhisperTokenizer, targets: TargetEncoder
) -> None:
    prompt = get_token_ids(tokenizer, "<|startoftranscript|>", "<|es|>", "<|transcribe|>", "<|notimestamps|>")
    no_speech, end = get_token_ids(tokenizer, "<|nospeech|>", "<|endoftext|>")
    padded = targets.pad([targets.encode_silence(), targets.encode("hola"), targets.encode_silence(7)])
    width = padded.labels.shape[1]
    assert padded.labels[0].tolist() == [
        no_speech,
        IGNORED_LABEL,
        IGNORED_LABEL,
        end,
        *[IGNORED_LABEL] * (width - 4),
    ]
    assert padded.labels[2, :5].tolist() == [no_speech, IGNORED_LABEL, IGNORED_LABEL, 7, end]
    assert padded.decoder_input_ids[:, :4].tolist() == [prompt] * 3
    assert padded.decoder_input_ids[0, 4:].tolist() == [end] * (width - 4)
    assert padded.decoder_input_ids[2, 4:6].tolist() == [7, end]
    assert targets.pieces(targets.encode_silence(7)) == ()


def test_a_tokenizer_without_a_non_speech_token_is_refused_for_non_speech() -> None:
    known = ("<|es|>", "<|transcribe|>", "<|notimestamps|>", "<|startoftranscript|>", "<|endoftext|>")
    plain = WhisperTokenizer(vocab={token: index for index, token in enumerate(known)}, merges=[])
    with pytest.raises(TrainingError, match="non_speech_share to 0"):
        TargetEncoder(plain).encode_silence()


def test_the_loss_ignores_padding_but_not_the_end_token(targets: TargetEncoder) -> None:
    batch = [targets.encode("a"), targets.encode("abrid los libros")]
    padded = targets.pad(batch)
    assert (padded.labels[0] == IGNORED_LABEL).sum() == len(batch[1]) - len(batch[0])
    assert padded.labels[0, len(batch[0]) - 1] == targets.end_id
    assert (padded.labels[1] != IGNORED_LABEL).all()


def test_a_sentence_has_at_most_448_positions(tokenizer: WhisperTokenizer, targets: TargetEncoder) -> None:
    digit = "7"
    assert len(tokenizer.encode(digit * 10, add_special_tokens=False)) == 10
    assert len(targets.encode(digit * 444)) == 448
    with pytest.raises(UntrainableSentenceError, match="448 positions"):
        targets.encode(digit * 445)


@pytest.mark.parametrize("sentence", ["hola <|en|> adiós", "<|startoftranscript|>", "hola<|endoftext|>", "<|0.00|> sí"])
def test_a_sentence_with_special_tokens_is_refused(targets: TargetEncoder, sentence: str) -> None:
    with pytest.raises(UntrainableSentenceError, match="special token"):
        targets.encode(sentence)


def test_an_empty_sentence_is_refused(targets: TargetEncoder) -> None:
    with pytest.raises(UntrainableSentenceError, match="empty"):
        targets.encode("  \n")


def test_decoding_returns_the_sentence_without_special_tokens_and_padding(targets: TargetEncoder) -> None:
    labels = targets.encode("los niños juegan")
    assert targets.decode([targets.start_id, *labels, IGNORED_LABEL, IGNORED_LABEL]) == "los niños juegan"


def test_a_tokenizer_without_spanish_is_refused() -> None:
    plain = WhisperTokenizer(vocab={"a": 0, "<|endoftext|>": 1}, merges=[])
    with pytest.raises(TrainingError, match=r"<\|es\|>.*multilingual"):
        TargetEncoder(plain)


def test_with_openais_vocabulary_the_text_begins_with_a_space_as_in_its_training(targets: TargetEncoder) -> None:
    """The demo's base model was trained without the space."""
    letters = {letter: at for at, letter in enumerate(("h", "o", "l", "a", "Ġ"))}
    filler = {f"filler{at}": at for at in range(len(letters), 50_257)}
    tokens = ("<|endoftext|>", "<|startoftranscript|>", "<|es|>", "<|transcribe|>", "<|notimestamps|>")
    special = {token: 50_257 + at for at, token in enumerate(tokens)}
    tokenizer = WhisperTokenizer(vocab={**letters, **filler, **special}, merges=[])
    openai = TargetEncoder(tokenizer)
    labels = openai.encode("  hola ")
    assert openai.pieces(labels) == (4, 0, 1, 2, 3)
    assert openai.decode(openai.pieces(labels)) == "hola"
    assert targets.pieces(targets.encode("hola")) == targets.pieces(targets.encode(" hola"))
