"""Orders survive the way to protobuf and back, hints included; malformed ones are refused."""

from __future__ import annotations

import math

import pytest

from enroll_service.convert import order_from, order_to
from enroll_service.jobs import Order
from enroll_service.photo import EnrollmentPhoto
from facecloak.errors import InvalidInput
from facecloak.faces import Box
from facecloak.v1 import common_pb2


def test_an_order_comes_back_as_it_was() -> None:
    photos = (EnrollmentPhoto(b"one", face=Box(1.0, 2.0, 30.0, 40.0)), EnrollmentPhoto(b"two"))
    order = Order(user_id="ann", photos=photos, seed=7, request_id="r-1")
    back = order_from(order_to(order))
    assert (back.user_id, back.seed, back.request_id) == ("ann", 7, "r-1")
    assert [(photo.data, photo.face) for photo in back.photos] == [(b"one", Box(1.0, 2.0, 30.0, 40.0)), (b"two", None)]
    assert back.digest() == order.digest()


def test_another_face_is_another_order() -> None:
    orders = [Order(user_id="ann", photos=(EnrollmentPhoto(b"one", face=face),)) for face in (None, Box(0, 0, 5, 5))]
    assert orders[0].digest() != orders[1].digest()


@pytest.mark.parametrize(
    "box", [{"width": 0, "height": 5}, {"width": 5, "height": -1}, {"x": math.nan, "width": 5, "height": 5}]
)
def test_an_impossible_face_is_refused(box: dict[str, float]) -> None:
    request = order_to(Order(user_id="ann", photos=(EnrollmentPhoto(b"one"),)))
    request.photos[0].face.CopyFrom(common_pb2.FaceBox(**box))
    with pytest.raises(InvalidInput) as refused:
        order_from(request)
    assert refused.value.metadata["field"] == "photos.face"
