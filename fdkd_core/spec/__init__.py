"""The job specification: the shared language of the core, the service and the client. pydantic only."""

from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.compare import CompareSpec
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.job import (
    SCHEMA_VERSION,
    ClassificationSpec,
    ControlsSpec,
    DistillSpec,
    MethodJobSpec,
    StudentSpec,
    TaskSpec,
    TeacherSpec,
    TeachingSpec,
    TrainSpec,
)
from fdkd_core.spec.kinds import AnyJobSpec, JobKind, JobSpec
from fdkd_core.spec.loading import canonical_json, json_schema, load_spec, parse_spec, spec_sha256
from fdkd_core.spec.methods import (
    FD_CMKD_WITH_LOGITS,
    PAPER_ABLATION,
    CombinedPart,
    CombineSpec,
    DistillingSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LeafMethodSpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    WeightScheduleSpec,
)
from fdkd_core.spec.onnx_outputs import TeacherOutputsSpec
from fdkd_core.spec.study import StudySpec
from fdkd_core.spec.training import (
    AdamWSpec,
    ConstantSpec,
    CosineSpec,
    OptimizerSpec,
    PolySpec,
    ScheduleSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.spec.tuning import TuningSpec

__all__ = [
    "FD_CMKD_WITH_LOGITS",
    "PAPER_ABLATION",
    "SCHEMA_VERSION",
    "AdamWSpec",
    "AnyJobSpec",
    "ArchitectureSpec",
    "ClassificationSpec",
    "CombineSpec",
    "CombinedPart",
    "CompareSpec",
    "ConstantSpec",
    "ControlsSpec",
    "Conv1dSpec",
    "Conv2dSpec",
    "CosineSpec",
    "DiagnoseSpec",
    "DistillSpec",
    "DistillingSpec",
    "FDCMKDSpec",
    "FeatureMSESpec",
    "GateSpec",
    "JobKind",
    "JobSpec",
    "LeafMethodSpec",
    "LogitKDSpec",
    "MLPSpec",
    "MethodJobSpec",
    "MethodSpec",
    "NoneSpec",
    "OptimizerSpec",
    "PolySpec",
    "ResNet18Spec",
    "SGDSpec",
    "ScheduleSpec",
    "StudentSpec",
    "StudySpec",
    "TaskSpec",
    "TeacherOutputsSpec",
    "TeacherSpec",
    "TeachingSpec",
    "TextTransformerSpec",
    "TrainSpec",
    "TrainingSpec",
    "TuningSpec",
    "WeightScheduleSpec",
    "canonical_json",
    "json_schema",
    "load_spec",
    "parse_spec",
    "spec_sha256",
]
