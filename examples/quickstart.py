"""
Classify audio clips from a few labelled examples
=================================================

This script extracts head vectors from a folder of clips, fits two few-shot classifiers on 5 clips per class, and
scores them on the other clips. It then predicts the labels of three audio files. The folder has one sub-folder per
class; ``tiny`` is the built-in model, so nothing is downloaded.

Run it with ``python examples/quickstart.py ../shared/esc10``.
"""

import sys

from calm import (
    CALMClassifier,
    HeadCache,
    Request,
    SAVClassifier,
    draw_episode,
    evaluate,
    extract_to_cache,
    find_clips,
    predict_audio,
)

# Extract the head vectors of all clips once. A second run finds them in heads.h5.
folder = sys.argv[1] if len(sys.argv) > 1 else "../shared/esc10"
clips = find_clips(folder)
report = extract_to_cache(clips, "heads.h5", Request(model="tiny"), progress=True)
print(f"head vectors of {report.done} of {report.clips} clips")

# Fit on a support set of 5 clips per class, and score on the queries.
with HeadCache("heads.h5") as cache:
    episode = draw_episode(cache, shots=5, seed=0)
    for classifier in (SAVClassifier(), CALMClassifier()):
        classifier.fit(episode.support, episode.support.labels)
        result = evaluate(episode.query.labels, classifier.predict(episode.query))
        print(f"{type(classifier).__name__}: {100 * result.accuracy:.1f} % of {result.clips} clips")

# Predict from audio. The classifier stores which model and which prompt to use.
prediction = predict_audio(classifier, clips[:3])
for clip, label in zip(prediction.clips, prediction.labels, strict=True):
    print(clip.name, label)
