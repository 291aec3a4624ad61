"""From a folder of clips to predictions, in Python: what the README's commands do.

python examples/quickstart.py ../shared/esc10
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

data = sys.argv[1] if len(sys.argv) > 1 else "../shared/esc10"
clips = find_clips(data)
report = extract_to_cache(clips, "heads.h5", Request(model="tiny"), progress=True)
print(f"head vectors of {report.done} of {report.clips} clips")

with HeadCache("heads.h5") as cache:
    episode = draw_episode(cache, shots=5, seed=0)
    for classifier in (SAVClassifier(), CALMClassifier()):
        classifier.fit(episode.support, episode.support.labels)
        result = evaluate(episode.query.labels, classifier.predict(episode.query))
        print(f"{type(classifier).__name__}: {100 * result.accuracy:.1f} % of {result.clips} clips")

prediction = predict_audio(classifier, clips[:3])
for clip, label in zip(prediction.clips, prediction.labels, strict=True):
    print(clip.name, label)
