"""The page Corregir: the clips of the review queue for one person, their audio, and the answers.

The page is one template with one script. Everything else here is JSON for that script. A clip is known by its hand-out, so a
person reaches no other clip than those the queue gave.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, get_args
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from habla_ml.annotation.clips_to_correct import ClipToCorrect, Correction, hand_out_clips, measure_progress
from habla_ml.annotation.page_answers import (
    GivenAnswer,
    GivenStatus,
    UnusableReason,
    check_answer,
    count_week,
    list_history,
    save_page_answer,
    take_answer_back,
)
from habla_ml.annotation.review_audio import read_clip_audio
from habla_ml.errors import InputError
from habla_ml.inbox.accounts import Account
from habla_ml.inbox.answers import Answer
from habla_ml.inbox.hand_outs import HandOut, find_hand_out
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.service.api.fields import require_printable
from habla_ml.service.pages.byte_ranges import build_range_response
from habla_ml.service.pages.clip_words import describe_reason
from habla_ml.service.pages.current_account import require_right
from habla_ml.service.pages.layout import add_page_headers, get_page_language, render_page
from habla_ml.service.problems import CONFLICT, INVALID, NO_CONSENT, NOT_FOUND, ProblemError
from habla_ml.service.state import State

MOST_CLIPS: Final = 5
LONGEST_TEXT: Final = 5_000
_MOST_EXCLUDED: Final = 100

router = APIRouter(prefix="/correct", include_in_schema=False)


Text = Annotated[str, AfterValidator(require_printable)]


class _WireModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, alias_generator=to_camel, populate_by_name=True
    )


class AnswerBody(_WireModel):
    """What the script sends for one clip."""

    answer_id: UUID
    status: GivenStatus
    text: Annotated[Text, Field(max_length=LONGEST_TEXT)] = ""
    reason: UnusableReason | None = None
    speaker: Annotated[Text, Field(max_length=100, description="Who speaks, where the person changed it.")] = ""
    age_seconds: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class UndoBody(_WireModel):
    """What the script sends to take an answer back."""

    undo_id: UUID


class ShownAnswer(_WireModel):
    """An answer as the page shows it."""

    person: str
    status: str
    text: str
    reason: str
    created_at: datetime
    is_mine: bool


class SavedBody(_WireModel):
    """The result of an answer: `others` have answered differently."""

    answer_id: str
    status: str
    others: list[ShownAnswer]


class ShownClip(_WireModel):
    """A clip to correct. `text` is empty where it is blind, `speaker` where no one is known."""

    hand_out_id: str
    segment_id: str
    duration_seconds: float
    speaker: str
    speakers: tuple[str, ...]
    day: str
    text: str
    is_blind: bool
    people: int
    is_sent_back: bool
    reasons: list[str]


class ShownProgress(_WireModel):
    """How far the queue is, and what the person did this week."""

    clips: int
    answered: int
    minutes: float
    answered_minutes: float
    mine_this_week: int


class NextClips(_WireModel):
    """The next clips."""

    clips: list[ShownClip]
    progress: ShownProgress


def get_correction(state: State, account: Annotated[Account, Depends(require_right("correct"))]) -> Correction:
    """Return the deployment as the person of the request works on it."""
    return Correction(state.lake, state.database, state.settings, account.name, state.read_clock())


CurrentCorrection = Annotated[Correction, Depends(get_correction)]


def get_clip(hand_out_id: UUID, correction: CurrentCorrection) -> HandOut:
    """Return the clip of the path; raises `ProblemError` if the person did not get it, or it may not be used now."""
    found = find_hand_out(correction.database, str(hand_out_id), correction.person_key)
    if found is None:
        raise ProblemError(NOT_FOUND, "You did not get this clip, or too long ago; load the page again")
    if not correction.is_allowed(found.day, found.session_id, found.segment_id):
        raise ProblemError(NO_CONSENT, "The clip may not be used any more; go on with the next one")
    return found


CurrentClip = Annotated[HandOut, Depends(get_clip)]


@router.get("")
def show_correct(
    request: Request, state: State, account: Annotated[Account, Depends(require_right("correct"))]
) -> Response:
    """Show the page."""
    # The queue of the browser is kept by account, so that nobody sends the answers of somebody else.
    return render_page(
        request,
        state,
        "correct.html.j2",
        outbox=account.account_id,
        reasons=get_args(UnusableReason),
        longest=LONGEST_TEXT,
        unknown_speaker=UNKNOWN_SPEAKER,
    )


@router.get("/clips")
def list_clips(
    request: Request,
    response: Response,
    correction: CurrentCorrection,
    most: Annotated[int, Query(ge=0, le=MOST_CLIPS)] = 3,
    exclude: Annotated[tuple[UUID, ...], Query(max_length=_MOST_EXCLUDED)] = (),
) -> NextClips:
    """Return the next clips, without the segments in `exclude`, and reserve them for the person."""
    response.headers["Cache-Control"] = "no-store"
    found = hand_out_clips(correction, most, {str(each) for each in exclude})
    progress = ShownProgress(**vars(measure_progress(correction)), mine_this_week=count_week(correction))
    language = get_page_language(request)
    return NextClips(clips=[_describe_clip(each, language) for each in found], progress=progress)


@router.get("/clips/{hand_out_id}/audio")
def read_audio(
    state: State,
    correction: CurrentCorrection,
    clip: CurrentClip,
    byte_range: Annotated[str, Header(alias="range")] = "",
) -> Response:
    """Return the clip as FLAC, whole or the requested range."""
    audio = read_clip_audio(correction.lake, clip.day, clip.segment_id)
    if audio is None:
        raise ProblemError(NOT_FOUND, "The lake does not have this clip any more")
    response = build_range_response(audio, byte_range, "audio/flac")
    add_page_headers(response, state)
    return response


@router.get("/clips/{hand_out_id}/history")
def read_clip_history(correction: CurrentCorrection, clip: CurrentClip) -> list[ShownAnswer]:
    """Return what was answered on a clip; of a blind one only the person's own answers."""
    return [_describe_answer(each, correction) for each in list_history(correction, clip.segment_id)]


@router.post("/clips/{hand_out_id}/answers")
def post_answer(correction: CurrentCorrection, clip: CurrentClip, body: AnswerBody) -> SavedBody:
    """Save an answer; the same request may be repeated."""
    given = GivenAnswer(
        answer_id=str(body.answer_id),
        status=body.status,
        text=body.text,
        reason=body.reason or "",
        speaker=body.speaker,
        age=timedelta(seconds=body.age_seconds),
    )
    try:
        check_answer(clip, given)
    except InputError as error:
        raise ProblemError(INVALID, str(error)) from None
    try:
        saved = save_page_answer(correction, clip, given)
    except InputError as error:
        raise ProblemError(CONFLICT, str(error)) from None
    return _describe_saved(saved.answer, [_describe_answer(each, correction) for each in saved.others])


@router.post("/answers/{answer_id}/undo")
def post_undo(correction: CurrentCorrection, answer_id: UUID, body: UndoBody) -> SavedBody:
    """Take an answer back; the same request may be repeated."""
    try:
        undo = take_answer_back(correction, str(answer_id), str(body.undo_id))
    except InputError as error:
        raise ProblemError(CONFLICT, str(error)) from None
    if undo is None:
        raise ProblemError(NOT_FOUND, "You gave no such answer")
    return _describe_saved(undo, [])


def _describe_saved(answer: Answer, others: list[ShownAnswer]) -> SavedBody:
    return SavedBody(answer_id=answer.answer_id, status=answer.status, others=others)


def _describe_clip(clip: ClipToCorrect, language: str) -> ShownClip:
    item = clip.item
    return ShownClip(
        hand_out_id=clip.hand_out.hand_out_id,
        segment_id=item.segment_id,
        duration_seconds=round(item.duration_s, 2),
        speaker="" if item.speaker == UNKNOWN_SPEAKER else item.speaker,
        speakers=clip.speakers,
        day=item.day,
        text=clip.hand_out.seen_text or "",
        is_blind=item.is_blind,
        people=max(1, item.blind_people),
        is_sent_back=item.is_sent_back,
        reasons=[describe_reason(each, language) for each in item.reasons],
    )


def _describe_answer(answer: Answer, correction: Correction) -> ShownAnswer:
    values: dict[str, Any] = {
        name: getattr(answer, name) for name in ("person", "status", "text", "reason", "created_at")
    }
    return ShownAnswer(**values, is_mine=answer.person == correction.person)
