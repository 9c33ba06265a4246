"""What is decided about reading radiographs: which kinds of image are taken, and how their grey values and sides go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bound
from pydantic import model_validator

from medtea.core.settings import StrictSettings

Decision = Literal["keep", "refuse"]


class Accept(StrictSettings):
    """Which kinds of DICOM image are taken; what is refused is told with its reason.

    Attributes:
        modalities: Values of Modality (0008,0060). CR and DX are projection radiographs; OT, RF or SC are added for a
            collection that was exported again under them.
        lateral: Laterals, obliques and decubitus views. Kept ones have the view "not frontal".
        unknown_view: The header does not say the view in words that are understood. Many public sets have none.
        other_body_part: BodyPartExamined or AnatomicRegionSequence names a part that is not the chest.
        for_processing: PresentationIntentType FOR PROCESSING: what the detector counted, before the maker's
            processing, often without logarithm and in the other polarity; no radiologist sees it.
        colour: RGB or YBR. Kept only if it is grey that is stored in colour.
        multi_frame: NumberOfFrames above 1. Of a kept one the first frame is read.
        secondary_capture: Storage class Secondary Capture, or a ConversionType. Kept: public sets are often exported
            so (with Modality CR or DX), and digitised films are.
        derived: ImageType DERIVED. Kept: an image for presentation is processed, so most are derived by their maker.
    """

    modalities: tuple[str, ...] = Bound(("CR", "DX"), min_length=1)
    lateral: Decision = "refuse"
    unknown_view: Decision = "keep"
    other_body_part: Decision = "refuse"
    for_processing: Decision = "refuse"
    colour: Decision = "refuse"
    multi_frame: Decision = "refuse"
    secondary_capture: Decision = "keep"
    derived: Decision = "keep"


class Choices(StrictSettings):
    """How a radiograph is read.

    Attributes:
        voi: Which VOI table or window of several: "first", "widest" (of windows; the first table), a number from 1, or
            the maker's own name for it (WindowCenterWidthExplanation, LUTExplanation; case does not count). What is
            not there falls back to the first, and the facts say so. "none": as if there were none. A table wins over
            a window.
        unwindowed: What becomes 0 and 1 where there is no VOI transformation. "percentiles": those of the field, so
            that neither the detector's depth nor its gain, which name the scanner, decide the brightness. "range": the
            whole range of BitsStored, which keeps the stored values' distances.
        percentiles: The two, of the pixels inside the field that are no padding. 0.5 and 99.5 leave out a lead
            marker and the direct beam, and no anatomy.
        wrong_polarity: What is done where the lungs are brighter than the spine and the abdomen, against the tag.
            "flag": told in the facts. "refuse": refused. "turn": turned over, and told.
        orientation: PatientOrientation other than left and feet: "turn" brings it there, "flag" only tells.
        field: Shutter and collimator: "crop" to what they leave, "keep" the whole image.
        aspect: Pixels that are not square: "square" resamples them to the finer of their two distances, "keep" not.
        accept: Which kinds of image are taken.
    """

    voi: Annotated[int, Bound(ge=1)] | str = "first"
    unwindowed: Literal["percentiles", "range"] = "percentiles"
    percentiles: tuple[float, float] = (0.5, 99.5)
    wrong_polarity: Literal["flag", "refuse", "turn"] = "flag"
    orientation: Literal["turn", "flag"] = "turn"
    field: Literal["crop", "keep"] = "crop"
    aspect: Literal["square", "keep"] = "square"
    accept: Accept = Accept()

    @model_validator(mode="after")
    def _ascending(self) -> Choices:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError("percentiles are two numbers between 0 and 100, the smaller first")
        return self
