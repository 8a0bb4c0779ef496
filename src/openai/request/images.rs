//! Images of a message: `data:` URLs, and others that somebody has fetched; their real type is read
//! from their bytes.
//!
//! A remote URL lets a request choose where the gateway connects to, so without somebody who
//! fetches it is refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::openai::json::{Shape, Slot, json_object};
use crate::run::Image;

use super::error::RequestError;

/// Most images of one request.
const IMAGES_MAX: usize = 8;
/// Most bytes of one image.
pub const IMAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Most bytes of all images.
const TOTAL_BYTES_MAX: usize = 20 * 1024 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Files that were fetched, by their URLs as they stand in the request.
pub type FetchedImages = HashMap<String, Bytes>;

json_object! {
    for<'de> struct UrlObject<'de> {
        "url" => url: Slot<Cow<'de, str>>,
    }
}

/// `image_url`: the URL itself or an object that holds it.
#[derive(Debug)]
pub(super) struct UrlIn<'de>(Option<Cow<'de, str>>);

impl<'de> Shape<'de> for UrlIn<'de> {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self(Some(text)))
    }

    fn from_map<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let object = UrlObject::from_map(map)?;
        Ok(object.map(|object| Self(object.url.given())))
    }
}

/// The image parts of one message, not decoded yet.
#[derive(Debug, Default)]
pub(super) struct ImagesIn<'de> {
    urls: Vec<Cow<'de, str>>,
    /// There were more than are allowed, or one without a URL.
    unusable: bool,
}

impl<'de> ImagesIn<'de> {
    pub(super) fn push(&mut self, url: Slot<UrlIn<'de>>) {
        match url.given().and_then(|url| url.0) {
            Some(url) if self.urls.len() < IMAGES_MAX => self.urls.push(url),
            Some(_) | None => self.unusable = true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urls.is_empty() && !self.unusable
    }

    /// The URLs somebody would have to fetch, when all of them can be used.
    pub(super) fn remote(&self) -> impl Iterator<Item = &str> {
        let urls = self.urls.iter().map(|url| url.trim());
        urls.filter(|url| !self.unusable && is_remote(url))
    }

    pub(super) fn decode(&self, fetched: &FetchedImages) -> Result<Vec<Image>, RequestError> {
        if self.unusable {
            return Err(RequestError::Image);
        }
        let mut room = TOTAL_BYTES_MAX;
        let mut images = Vec::with_capacity(self.urls.len());
        for url in &self.urls {
            let url = url.trim();
            let image = match fetched.get(url) {
                Some(file) => of_file(file.clone(), room),
                None => decode(url, room),
            };
            let image = image.ok_or(RequestError::Image)?;
            room -= image.bytes.len();
            images.push(image);
        }
        Ok(images)
    }
}

/// Decodes one `data:` URL of at most `room` bytes.
fn decode(url: &str, room: usize) -> Option<Image> {
    let (scheme, rest) = url.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, payload) = rest.split_once(',')?;
    let mut parameters = head.split(';');
    if !parameters.any(|parameter| parameter.trim().eq_ignore_ascii_case("base64")) {
        return None;
    }
    // Three bytes come out of four characters; do not even decode what cannot fit.
    if payload.len() / 4 * 3 > IMAGE_BYTES_MAX + 3 {
        return None;
    }
    of_file(Bytes::from(BASE64.decode(payload.trim()).ok()?), room)
}

/// Whether a URL leads out of the request.
fn is_remote(url: &str) -> bool {
    let is = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    is("http://") || is("https://")
}

/// An image with these bytes, when it is one of at most `room` bytes.
fn of_file(bytes: Bytes, room: usize) -> Option<Image> {
    if bytes.len() > IMAGE_BYTES_MAX.min(room) {
        return None;
    }
    let media_type = sniff(&bytes)?;
    Some(Image {
        media_type: Arc::from(media_type),
        bytes,
    })
}

/// The media type the first bytes of a file tell, when it is one models take.
fn sniff(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Some("image/gif");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(&str, usize)>) {
        let mut images = ImagesIn::default();
        images.push(Slot::Given(UrlIn(Some(Cow::Borrowed(url)))));
        let decoded = images.decode(&FetchedImages::new()).ok();
        let first = decoded.as_ref().and_then(|images| images.first());
        let seen = first.map(|image| (&*image.media_type, image.bytes.len()));
        let shown: String = url.chars().take(60).collect();
        assert_eq!(seen, expected, "{shown}");
    }

    #[test]
    fn the_type_is_that_of_the_bytes_and_only_data_urls_are_taken() {
        check("data:image/png;base64,R0lGODlhAA==", Some(("image/gif", 7)));
        check("data:;base64,R0lGODlhAA", Some(("image/gif", 7)));
        check(
            "DATA:image/png;x=y;BASE64,/9j/4A==",
            Some(("image/jpeg", 4)),
        );
        check(
            "data:image/webp;base64,UklGRgAAAABXRUJQ",
            Some(("image/webp", 12)),
        );
        check("data:image/png;base64,iVBORw0KGgo=", Some(("image/png", 8)));
        check("data:image/heic;base64,AAAAGGZ0eXBoZWlj", None);
        check("data:text/plain;base64,aGk=", None);
        check("data:image/png,R0lGODlhAA==", None);
        check("data:image/png;base64,R0lGOD*hAA==", None);
        check("data:image/png;base64", None);
        check("http://127.0.0.1:1/x.png", None);
        check("https://example.com/x.png", None);
        check("file:///etc/passwd", None);
        check("", None);
        check("däta:", None);
    }

    #[test]
    fn images_are_bounded_in_size_and_number() {
        let url = |bytes: usize| {
            let mut file = b"GIF89a".to_vec();
            file.resize(bytes, 0);
            format!("data:image/gif;base64,{}", BASE64.encode(file))
        };
        check(&url(IMAGE_BYTES_MAX), Some(("image/gif", IMAGE_BYTES_MAX)));
        check(&url(IMAGE_BYTES_MAX + 1), None);
        let largest = url(IMAGE_BYTES_MAX);
        let mut images = ImagesIn::default();
        for _ in 0..2 {
            images.push(Slot::Given(UrlIn(Some(Cow::Borrowed(&largest)))));
        }
        assert_eq!(images.decode(&FetchedImages::new()).unwrap().len(), 2);
        images.push(Slot::Given(UrlIn(Some(Cow::Borrowed(
            "data:;base64,R0lGODlhAA==",
        )))));
        assert!(images.decode(&FetchedImages::new()).is_err());

        let mut many = ImagesIn::default();
        for _ in 0..=IMAGES_MAX {
            many.push(Slot::Given(UrlIn(Some(Cow::Borrowed(
                "data:;base64,R0lGODlhAA==",
            )))));
        }
        assert!(many.decode(&FetchedImages::new()).is_err());
    }

    #[test]
    fn a_remote_image_is_what_was_fetched_for_it() {
        let mut images = ImagesIn::default();
        for url in [
            "HTTPS://a.com/x",
            "data:;base64,R0lGODlhAA==",
            "http://b.com/y",
        ] {
            images.push(Slot::Given(UrlIn(Some(Cow::Borrowed(url)))));
        }
        let remote: Vec<_> = images.remote().collect();
        assert_eq!(remote, ["HTTPS://a.com/x", "http://b.com/y"]);
        let gif = Bytes::from_static(b"GIF89a..");
        let mut fetched: FetchedImages = [("HTTPS://a.com/x".to_owned(), gif)].into();
        assert!(images.decode(&fetched).is_err(), "one is missing");
        let text = Bytes::from_static(b"<html>");
        fetched.insert("http://b.com/y".to_owned(), text);
        assert!(images.decode(&fetched).is_err(), "one is no image");
        let png = Bytes::from_static(b"\x89PNG\r\n\x1a\n");
        fetched.insert("http://b.com/y".to_owned(), png);
        let types = images.decode(&fetched).unwrap();
        let types: Vec<_> = types.iter().map(|image| &*image.media_type).collect();
        assert_eq!(types, ["image/gif", "image/gif", "image/png"]);
    }

    #[test]
    fn an_image_without_a_url_is_unusable() {
        let mut images = ImagesIn::default();
        images.push(Slot::Absent);
        assert!(!images.is_empty());
        assert!(images.decode(&FetchedImages::new()).is_err());
    }
}
