//! Posts: taking one in, and listing the newest.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use multer::Multipart;
use prometheus::IntCounterVec;
use ring::rand::{SystemRandom, generate};
use serde_json::json;

use crate::chassis::{Error, Response, response};

use super::disposition::Disposition;
use super::model::{self, Message, NoPicture};
use super::pictures::{self, Picture};
use super::{Board, store};

/// Parts of a form, at most: the two that are read, and what a front end adds.
const PARTS_MAX: usize = 15;

const NOT_MULTIPART: Error = Error::Refused(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    Cow::Borrowed("Content-Type must be multipart/form-data"),
);
const MALFORMED: Error = Error::bad_request("Request body is not valid multipart/form-data");

/// What becomes of an upload, as it is counted.
pub(super) const OUTCOMES: [&str; 5] = ["busy", "refused", "not_stored", "not_posted", "stored"];

/// Counts an upload when it ends, as what it had come to by then: also one that is given up for its time.
struct Counted<'a> {
    uploads: &'a IntCounterVec,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.uploads.with_label_values(&[self.outcome]).inc();
    }
}

/// `POST /upload/`: stores the picture, then makes the post.
pub(super) async fn upload(
    board: Arc<Board>,
    content_type: Option<HeaderValue>,
    body: Bytes,
) -> Result<Response, Error> {
    let mut counted = Counted { uploads: &board.metrics.uploads, outcome: "busy" };
    let Ok(_place) = board.uploads.try_acquire() else {
        return Err(Error::busy("the queue of uploads"));
    };
    counted.outcome = "refused";
    let (message, picture) = Form::read(content_type.as_ref(), body).await?.check()?;
    counted.outcome = "not_stored";
    let name = picture.name.clone();
    pictures::put(&board, picture).await?;
    counted.outcome = "not_posted";
    pictures::publish(&board, &message, &name).await?;
    counted.outcome = "stored";
    Ok(response::ok(&json!({ "ok": true, "filename": name })))
}

/// `GET /readMessages`: the newest posts. Asked of the writer, so that everyone sees their own at once.
pub(super) async fn newest(board: Arc<Board>) -> Result<Response, Error> {
    let posts = store::post_list(&mut board.db.writer().await?).await?;
    let cdn = board.cdn_base_url.as_deref();
    let messages: Vec<Message> = posts.into_iter().map(|post| Message::of(post, cdn)).collect();
    Ok(response::ok(&messages))
}

/// What an upload sent.
#[derive(Debug, Default)]
pub struct Form {
    /// The text.
    pub message: Option<Bytes>,
    /// The picture's name on its sender's disk, and its bytes.
    pub file: Option<(String, Bytes)>,
}

impl Form {
    /// Takes a multipart body apart. Other parts than the two are passed over.
    ///
    /// # Errors
    /// 415 for another type, 400 for what is no form, or has one of the two twice.
    pub async fn read(content_type: Option<&HeaderValue>, body: Bytes) -> Result<Self, Error> {
        let content_type = content_type.and_then(|value| value.to_str().ok()).ok_or(NOT_MULTIPART)?;
        let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
            multer::Error::NoBoundary => MALFORMED,
            _ => NOT_MULTIPART,
        })?;
        let mut parts = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
        let mut form = Self::default();
        // The last look is for the end.
        for _ in 0..=PARTS_MAX {
            let Some(part) = parts.next_field().await.map_err(|_| MALFORMED)? else { return Ok(form) };
            let mut dispositions = part.headers().get_all(CONTENT_DISPOSITION).iter();
            let (Some(header), None) = (dispositions.next(), dispositions.next()) else {
                return Err(MALFORMED);
            };
            let disposition = Disposition::parse(header.as_bytes()).ok_or(MALFORMED)?;
            let is_repeated = match disposition.name.as_deref() {
                Some("message") => form.message.replace(part.bytes().await.map_err(|_| MALFORMED)?).is_some(),
                Some("file") => {
                    let name = disposition.file_name.unwrap_or_default();
                    form.file.replace((name, part.bytes().await.map_err(|_| MALFORMED)?)).is_some()
                }
                _ => false,
            };
            if is_repeated {
                return Err(Error::bad_request("Only one message and one file can be sent"));
            }
        }
        Err(Error::bad_request("Too many parts in the form"))
    }

    /// The message and the picture, named as it is to be stored.
    fn check(self) -> Result<(String, Picture), Error> {
        let text = String::from_utf8(self.message.unwrap_or_default().into());
        let text = text.map_err(|_| Error::bad_request("Message is not valid UTF-8"))?;
        // A file input that was left empty sends a part without a name or content.
        let (given_name, bytes) = self.file.unwrap_or_default();
        let mistakes: Vec<Cow<'static, str>> = [
            model::message(&text).err(),
            (given_name.is_empty() && bytes.is_empty()).then_some("File can't be blank"),
        ]
        .into_iter()
        .flatten()
        .map(Cow::Borrowed)
        .collect();
        if !mistakes.is_empty() {
            return Err(Error::Invalid(mistakes));
        }
        let picture_type = model::picture(&bytes).map_err(refusal)?;
        let file_name = model::file_name(&given_name, picture_type).map_err(Error::invalid)?;
        let random = generate::<[u8; 16]>(&SystemRandom::new())
            .map_err(|_| Error::Internal("no random numbers".to_owned()))?;
        let name = model::picture_name(random.expose(), &file_name);
        Ok((text, Picture { name, picture_type, bytes }))
    }
}

fn refusal(why: NoPicture) -> Error {
    match why {
        NoPicture::TooLarge => Error::Refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            Cow::Borrowed("File is too large (maximum is 1 MB)"),
        ),
        NoPicture::OtherType => Error::Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Cow::Borrowed("File must be a jpg, jpeg, png, gif or bmp picture"),
        ),
        NoPicture::Dimensions => Error::invalid("File has too many pixels (maximum is 50 million) or none"),
    }
}
