from enroll_service.library import enroll as enroll
from facecloak.cloaking.apply import apply as apply
from facecloak.cloaking.cloaker import Cloaker as Cloaker
from facecloak.cloaking.cloaker import CloakResult as CloakResult
from facecloak.cloaking.cloaker import PhotoNotCloaked as PhotoNotCloaked
from facecloak.cloaking.cloaker import SubjectResult as SubjectResult
from facecloak.cloaking.subject import Outcome as Outcome
from facecloak.cloaking.subject import Subject as Subject
from facecloak.errors import FaceCloakError as FaceCloakError
from facecloak.faces import Box as Box
from facecloak.masks.bank import MaskBank as MaskBank
from facecloak.masks.bank import mask_from_bytes as mask_from_bytes
from facecloak.masks.mask import Mask as Mask
from facecloak_evaluation.library import evaluate as evaluate

LEARNING: dict[str, str]
__version__: str
