from . import extract as extract
from . import fit as fit
from . import sounds as sounds
from .classifiers.calm import CALMClassifier as CALMClassifier
from .classifiers.explanation import Explanation as Explanation
from .classifiers.global_weights import GlobalWeightClassifier as GlobalWeightClassifier
from .classifiers.linear_probe import LinearProbeClassifier as LinearProbeClassifier
from .classifiers.nearest_mean import NearestMeanClassifier as NearestMeanClassifier
from .classifiers.registry import load as load
from .classifiers.registry import make_method as make_method
from .classifiers.sav import SAVClassifier as SAVClassifier
from .classifiers.tuning import tune as tune
from .classifiers.uniform_vote import UniformVoteClassifier as UniformVoteClassifier
from .evaluation.comparison import Comparison as Comparison
from .evaluation.comparison import compare as compare
from .evaluation.episodes import Episode as Episode
from .evaluation.episodes import draw_episode as draw_episode
from .evaluation.scores import Evaluation as Evaluation
from .evaluation.scores import evaluate as evaluate
from .extract import HeadCache as HeadCache
from .extract import Request as Request
from .extract import extract_to_cache as extract_to_cache
from .extract import find_clips as find_clips
from .extract import load_lalm as load_lalm
from .inference.audio_explanation import AudioExplanation as AudioExplanation
from .inference.audio_explanation import explain_audio as explain_audio
from .inference.head_extractor import HeadExtractor as HeadExtractor
from .inference.prediction import AudioPrediction as AudioPrediction
from .inference.prediction import predict_audio as predict_audio
from .inference.zero_shot import ZeroShot as ZeroShot
from .inference.zero_shot import zero_shot as zero_shot

__version__: str
__all__: list[str]
