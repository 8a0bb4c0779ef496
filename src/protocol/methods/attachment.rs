//! Attachments of `agent` and `chat.send`: images, sent as base64 (`protocol-facts` §6.5).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::Image;

/// Most bytes of one decoded image (`hello-ok.policy.attachments.maxImageBytes`).
pub const IMAGE_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Most attachments of one message.
pub const ATTACHMENTS_MAX: usize = 8;

/// An attachment, as the client sent it; unknown members are let through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `image`, `file`, …
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The media type the client believes it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Base64, or a data URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// An attachment that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// There are too many.
    #[error("too many attachments ({0} > {ATTACHMENTS_MAX})")]
    TooMany(usize),
    /// The content is missing or not base64.
    #[error("attachment {0}: invalid base64 content")]
    BadBase64(String),
    /// It is too large.
    #[error("attachment {label}: exceeds size limit ({bytes} > {IMAGE_BYTES_MAX} bytes)")]
    TooLarge {
        /// The attachment's name or position.
        label: String,
        /// Its size.
        bytes: usize,
    },
    /// It is no image of a kind models take.
    #[error("attachment {0}: only PNG, JPEG, GIF and WebP images are supported")]
    NotAnImage(String),
}

/// Decodes the attachments of one message.
///
/// # Errors
/// [`AttachmentError`] for the first attachment that cannot be used.
pub fn decode_images(attachments: &[Attachment]) -> Result<Vec<Image>, AttachmentError> {
    if attachments.len() > ATTACHMENTS_MAX {
        return Err(AttachmentError::TooMany(attachments.len()));
    }
    let numbered = attachments.iter().zip(1_usize..);
    numbered
        .map(|(attachment, position)| decode(attachment, position))
        .collect()
}

fn decode(attachment: &Attachment, position: usize) -> Result<Image, AttachmentError> {
    let label = || match attachment.file_name.as_deref() {
        Some(name) if !name.is_empty() => name.chars().take(100).collect(),
        Some(_) | None => position.to_string(),
    };
    let content = attachment.content.as_deref().unwrap_or_default();
    let data = match content.strip_prefix("data:") {
        Some(url) => url.split_once(',').map_or("", |(_head, data)| data),
        None => content,
    };
    // Four characters carry at most three bytes, so the size is known before decoding.
    let bytes_about = data.len() / 4 * 3;
    if bytes_about > IMAGE_BYTES_MAX + 3 {
        return Err(AttachmentError::TooLarge {
            label: label(),
            bytes: bytes_about,
        });
    }
    let bytes = STANDARD
        .decode(data)
        .or_else(|_padding| STANDARD_NO_PAD.decode(data))
        .map_err(|_bad| AttachmentError::BadBase64(label()))?;
    if bytes.is_empty() {
        return Err(AttachmentError::BadBase64(label()));
    }
    if bytes.len() > IMAGE_BYTES_MAX {
        return Err(AttachmentError::TooLarge {
            label: label(),
            bytes: bytes.len(),
        });
    }
    match media_type(&bytes) {
        Some(media_type) => Ok(Image {
            media_type: media_type.into(),
            bytes: Bytes::from(bytes),
        }),
        None => Err(AttachmentError::NotAnImage(label())),
    }
}

/// The media type the first bytes of a file tell; what the client says is not trusted.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = &[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 1];

    fn check(content: Option<&str>, expected: Result<&str, &str>) {
        let attachment = Attachment {
            file_name: Some("a.png".to_owned()),
            content: content.map(str::to_owned),
            ..Attachment::default()
        };
        let decoded = decode_images(&[attachment]);
        let found = decoded
            .as_ref()
            .map(|images| images[0].media_type.as_ref())
            .map_err(ToString::to_string);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn images_come_as_base64_or_data_url_and_their_bytes_tell_the_type() {
        let text = STANDARD.encode(PNG);
        check(Some(&text), Ok("image/png"));
        check(
            Some(&format!("data:image/jpeg;base64,{text}")),
            Ok("image/png"),
        );
        check(Some(text.trim_end_matches('=')), Ok("image/png"));
        check(Some("%%%"), Err("attachment a.png: invalid base64 content"));
        check(None, Err("attachment a.png: invalid base64 content"));
        check(
            Some(&STANDARD.encode("plain text")),
            Err("attachment a.png: only PNG, JPEG, GIF and WebP images are supported"),
        );
    }

    #[test]
    fn size_and_number_are_bounded() {
        let mut large = PNG.to_vec();
        large.resize(IMAGE_BYTES_MAX + 1, 0);
        check(
            Some(&STANDARD.encode(&large)),
            Err("attachment a.png: exceeds size limit (6291457 > 6291456 bytes)"),
        );
        large.pop();
        check(Some(&STANDARD.encode(&large)), Ok("image/png"));
        let many = vec![Attachment::default(); ATTACHMENTS_MAX + 1];
        assert_eq!(decode_images(&many), Err(AttachmentError::TooMany(9)));
    }
}
