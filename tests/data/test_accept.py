"""Which view it is and who said so; and which kinds of image are taken."""

from __future__ import annotations

from dataclasses import fields

import pytest
from oracles.made_dicom import made_dataset, put_code

from medtea.core.errors import DataError
from medtea.core.settings import parse
from medtea.data.choices import Accept, Choices
from medtea.data.dicom.accept import refuse_unusable
from medtea.data.facts import Facts
from medtea.data.pixels import read_dataset
from medtea.data.views import NOT_FRONTAL, UNKNOWN, view_and_source

PROCESSING = "AcquisitionDeviceProcessingDescription"


@pytest.mark.parametrize(
    ("elements", "view", "source"),
    [
        ({"ViewPosition": "PA", "SeriesDescription": "AP"}, "PA", "ViewPosition"),
        ({"ViewPosition": "", "SeriesDescription": "Thorax a.p. liegend"}, "AP", "SeriesDescription"),
        ({"ViewPosition": "CHEST", "ProtocolName": "P.-A."}, "PA", "ProtocolName"),
        (
            {PROCESSING: "CHEST,LAT"},
            NOT_FRONTAL,
            PROCESSING,
        ),
        ({"StudyDescription": "XR CHEST AP PORTABLE"}, "AP", "StudyDescription"),
        # two images' views in one study's name say nothing about either
        ({"StudyDescription": "CHEST PA AND LATERAL"}, UNKNOWN, ""),
        ({"StudyDescription": "CHEST PA/AP/LAT"}, UNKNOWN, ""),
        (
            {"StudyDescription": "CHEST PA AND LATERAL", "SeriesDescription": "LATERAL"},
            NOT_FRONTAL,
            "SeriesDescription",
        ),
        ({"SeriesDescription": "CHEST PORTABLE BEDSIDE"}, UNKNOWN, ""),  # most are AP, and that is a guess
        ({"SeriesDescription": "MAP of APPARATUS"}, UNKNOWN, ""),
        ({"PatientOrientation": ["A", "F"]}, NOT_FRONTAL, "PatientOrientation"),
        ({"PatientOrientation": ["L", "F"]}, UNKNOWN, ""),
        ({"PatientOrientation": ["P", "F"], "ViewPosition": "PA"}, "PA", "ViewPosition"),
        ({}, UNKNOWN, ""),
    ],
)
def test_the_first_element_that_tells_the_view_is_believed(elements: dict[str, object], view: str, source: str) -> None:
    dataset = made_dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert view_and_source(dataset) == (view, source)


@pytest.mark.parametrize(
    ("value", "meaning", "view"),
    [
        ("R-10206", "", "AP"),
        ("272479007", "", "PA"),
        ("x", "postero-anterior", "PA"),
        ("399173006", "left lateral", NOT_FRONTAL),
    ],
)
def test_a_view_code_is_believed_before_descriptions(value: str, meaning: str, view: str) -> None:
    dataset = made_dataset()
    dataset.SeriesDescription = "AP" if view != "AP" else "PA"
    put_code(dataset, "ViewCodeSequence", value, meaning)
    assert view_and_source(dataset) == (view, "ViewCodeSequence")


KINDS = {
    "lateral": ({"ViewPosition": "LL"}, r"ViewPosition \(0018,5101\) is 'LL'; a frontal radiograph is PA or AP"),
    "unknown_view": ({}, "No element tells the view"),
    "other_body_part": ({"BodyPartExamined": "KNEE"}, r"BodyPartExamined \(0018,0015\) is 'KNEE'"),
    "for_processing": ({"PresentationIntentType": "FOR PROCESSING"}, "what the detector counted"),
    "multi_frame": ({"NumberOfFrames": 3}, r"NumberOfFrames \(0028,0008\) is '3'"),
    "secondary_capture": ({"ConversionType": "WSD"}, "The image is a secondary capture"),
    "derived": ({"ImageType": ["DERIVED", "PRIMARY"]}, "ImageType .* says 'DERIVED'"),
    "colour": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"\(0028,0004\) is 'RGB'"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_refused_with_its_reason_or_kept_as_chosen(kind: str) -> None:
    elements, reason = KINDS[kind]
    dataset = made_dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    refuse_unusable(dataset, Accept(**{kind: "keep"}))
    with pytest.raises(DataError, match=reason):
        refuse_unusable(dataset, Accept(**{kind: "refuse"}))


def test_every_kind_there_is_a_setting_for_is_tested() -> None:
    assert set(KINDS) | {"modalities"} == set(Accept.model_fields)


def test_a_modality_may_be_added() -> None:
    dataset = made_dataset()
    dataset.Modality = "OT"
    refuse_unusable(dataset, Accept(modalities=("CR", "DX", "OT")))
    with pytest.raises(DataError, match=r"Modality \(0008,0060\) is 'OT'; a projection radiograph is CR or DX"):
        refuse_unusable(dataset)


def test_a_secondary_capture_is_known_by_its_storage_class_too() -> None:
    dataset = made_dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    assert read_dataset(dataset).facts.secondary_capture
    assert not read_dataset(made_dataset()).facts.secondary_capture


def test_another_region_than_the_chest_is_refused_and_the_chest_is_not() -> None:
    dataset = made_dataset()
    put_code(dataset, "AnatomicRegionSequence", "51185008", "Chest")
    refuse_unusable(dataset)
    put_code(dataset, "AnatomicRegionSequence", "x", "Knee")
    with pytest.raises(DataError, match="'KNEE'"):
        refuse_unusable(dataset)


def test_a_description_decides_and_is_never_quoted() -> None:
    dataset = made_dataset()
    dataset.SeriesDescription = "Doe Jane lateral"
    with pytest.raises(
        DataError, match="SeriesDescription tells another view; a frontal radiograph is PA or AP"
    ) as caught:
        refuse_unusable(dataset)
    assert "Doe" not in str(caught.value)


def test_a_kept_lateral_has_its_view_and_is_not_asked_for_its_polarity() -> None:
    dataset = made_dataset()
    dataset.ViewPosition = "LL"
    facts = read_dataset(dataset, Choices(accept=Accept(lateral="keep"))).facts
    assert (facts.view, facts.view_source, facts.lung_contrast) == (NOT_FRONTAL, "ViewPosition", None)


def test_the_facts_are_plain_values_and_none_of_them_is_text_of_the_header() -> None:
    dataset = made_dataset()
    for keyword in ("SeriesDescription", "PatientID", "StationName", "WindowCenterWidthExplanation", "ProtocolName"):
        setattr(dataset, keyword, "Doe Jane PA")
    dataset.PatientName, dataset.WindowCenter, dataset.WindowWidth = "Doe^Jane", 2000, 3000
    columns = read_dataset(dataset, Choices(voi="doe jane pa")).facts.columns()
    assert list(columns) == [field.name for field in fields(Facts)]
    assert {type(value) for value in columns.values()} <= {str, int, float, bool, type(None)}
    assert "Doe" not in str(columns)
    assert columns["voi"] == "window 1 of 1"


@pytest.mark.parametrize(
    "content",
    [{"voi": 0}, {"percentiles": [99, 1]}, {"percentiles": [-1, 50]}, {"accept": {"lateral": "maybe"}}, {"vio": 1}],
)
def test_choices_that_make_no_sense_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(Exception, match=r"voi|percentiles|lateral"):
        parse(Choices, content)
