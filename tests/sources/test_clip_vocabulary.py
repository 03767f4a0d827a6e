"""The tokenizer that ships with sdbuild is the published one."""

import hashlib
import json

from sdbuild.sources.clip_vocabulary import merges_text, vocabulary_json


def test_merges_are_the_published_file() -> None:
    content = merges_text().encode()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert blob == "76e821f1b6f0a9709293c3b6b51ed90980b3166b"  # git's name of it in the repositories of the hub


def test_the_vocabulary_has_the_published_numbers() -> None:
    vocabulary = json.loads(vocabulary_json())
    assert list(vocabulary.values()) == list(range(49408))
    known = {"!": 0, "!</w>": 256, "in": 512, "a</w>": 320, "of</w>": 539, "photo</w>": 1125, "cat</w>": 2368}
    known |= {"astronaut</w>": 18376, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    assert {word: vocabulary[word] for word in known} == known
    assert len(vocabulary_json().encode()) == 961_143  # bytes of the published vocab.json
