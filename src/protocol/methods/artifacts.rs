//! `artifacts.list` and `artifacts.download`: the images of a transcript, which histories only
//! name.
//!
//! A history would be megabytes long with its images in it. As in the original, an image of a
//! message is shown without its data and with an id, and who wants to see it downloads it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::EntryId;
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};
use crate::run::{Entry, EntryBody, Image};

/// What the id of an image begins with; the id of its entry and its place in it follow.
const IMAGE: &str = "artifact_transcript_image_";

/// What every artifact here is.
const KIND: &str = "image";

params! {
    /// Parameters of `artifacts.download`.
    ArtifactsDownloadParams {
        required {
            /// The artifact, as a message names it.
            artifact_id: NonEmpty,
        }
        optional {
            /// The session whose message it is in.
            session_key: NonEmpty,
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
        }
        unused {
            run_id: NonEmpty,
            task_id: NonEmpty,
            message_role: NonEmpty,
            transport: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `artifacts.list`.
    ArtifactsListParams {
        optional {
            /// The session whose messages are looked through.
            session_key: NonEmpty,
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// What they are: there are only `image`s.
            #[serde(rename = "type")]
            kind: NonEmpty,
            /// At most this many, the newest; 100 when absent.
            limit: Bounded<1, 500>,
        }
        unused {
            run_id: NonEmpty,
            task_id: NonEmpty,
            message_role: NonEmpty,
        }
    }
}

/// Artifacts `artifacts.list` returns when the caller names no limit.
pub const ARTIFACTS_LIMIT_DEFAULT: u64 = 100;

/// The result of `artifacts.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactsListResult<'a> {
    /// The artifacts, newest first.
    #[serde(borrow)]
    pub artifacts: Vec<Artifact<'a>>,
}

impl<'a> ArtifactsListResult<'a> {
    /// The newest images of these entries.
    pub fn images(params: &'a ArtifactsListParams, entries: &'a [Entry], most: usize) -> Self {
        let is_asked = params.kind.as_deref().is_none_or(|kind| kind == KIND);
        let session_key = params.session_key.as_deref().unwrap_or_default();
        let newest = entries.iter().rev().filter(|_| is_asked);
        let artifacts = newest.flat_map(|entry| {
            let images = images_of(entry).iter().enumerate();
            images.map(|(at, image)| {
                Artifact::image(image_id(entry.id, at).into(), image, entry.n, session_key)
            })
        });
        Self {
            artifacts: artifacts.take(most).collect(),
        }
    }
}

/// The id of an image of a message.
pub fn image_id(entry: EntryId, index: usize) -> String {
    format!("{IMAGE}{entry}_{index}")
}

/// The entry an image belongs to and its place in it; `None` for any other id.
pub fn image_place(id: &str) -> Option<(&str, usize)> {
    let (entry, index) = id.strip_prefix(IMAGE)?.rsplit_once('_')?;
    Some((entry, index.parse().ok()?))
}

/// The result of `artifacts.download`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactsDownloadResult<'a> {
    /// What it is.
    #[serde(borrow)]
    pub artifact: Artifact<'a>,
    /// How `data` is written: `base64`.
    #[serde(borrow)]
    pub encoding: Cow<'a, str>,
    /// The bytes.
    pub data: String,
}

/// What is told of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// `image`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// What to call it.
    #[serde(borrow)]
    pub title: Cow<'a, str>,
    /// Its media type.
    #[serde(borrow)]
    pub mime_type: Cow<'a, str>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The session it is in, as the caller wrote it.
    #[serde(borrow)]
    pub session_key: Cow<'a, str>,
    /// Position of its message in the transcript.
    pub message_seq: u64,
    /// `session-transcript`.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// How it is to be had.
    pub download: Download,
}

impl<'a> Artifact<'a> {
    /// An image of the message at position `n`.
    fn image(id: Cow<'a, str>, image: &'a Image, n: u64, session_key: &'a str) -> Self {
        Self {
            id,
            kind: KIND.into(),
            title: "Image".into(),
            mime_type: Cow::Borrowed(&image.media_type),
            size_bytes: u64::try_from(image.bytes.len()).unwrap_or(u64::MAX),
            session_key: session_key.into(),
            message_seq: n,
            source: "session-transcript".into(),
            download: Download {
                mode: DownloadMode::Bytes,
            },
        }
    }
}

/// The images that came with a message.
fn images_of(entry: &Entry) -> &[Image] {
    match &entry.body {
        EntryBody::User { images, .. } => images,
        EntryBody::Assistant { .. }
        | EntryBody::Tool { .. }
        | EntryBody::ToolResult { .. }
        | EntryBody::Injected { .. }
        | EntryBody::Command { .. }
        | EntryBody::Compaction { .. } => &[],
    }
}

/// How an artifact is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Download {
    /// In the answer itself.
    pub mode: DownloadMode,
}

/// How an artifact is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DownloadMode {
    /// In the answer itself.
    Bytes,
}

impl<'a> ArtifactsDownloadResult<'a> {
    /// The image at `index` of an entry; `None` when there is none.
    pub fn image(
        params: &'a ArtifactsDownloadParams,
        entry: &'a Entry,
        index: usize,
    ) -> Option<Self> {
        let image = images_of(entry).get(index)?;
        let session_key = params.session_key.as_deref().unwrap_or_default();
        let id = Cow::Borrowed(&*params.artifact_id);
        Some(Self {
            artifact: Artifact::image(id, image, entry.n, session_key),
            encoding: "base64".into(),
            data: STANDARD.encode(&image.bytes),
        })
    }
}

/// Why there is no download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// It is not said where to look.
    #[error("{method} needs sessionKey")]
    NoSession {
        /// What was called.
        method: &'static str,
    },
    /// There is no such artifact there.
    #[error("artifact not found")]
    NotFound {
        /// The id that was asked for.
        id: String,
    },
}

impl ArtifactError {
    /// What the refusal says to programs.
    pub fn details(&self) -> Value {
        match self {
            Self::NoSession { .. } => json!({ "type": "artifact_query_unsupported" }),
            Self::NotFound { id } => json!({ "type": "artifact_not_found", "artifactId": id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_id_of_an_image_leads_back_to_it() {
        let entry = EntryId::from_uuid(Uuid::nil());
        let id = image_id(entry, 3);
        assert_eq!(image_place(&id), Some((entry.to_string().as_str(), 3)));
        for other in [
            "",
            "artifact_managed_image_x_1",
            IMAGE,
            "artifact_transcript_image_x_-1",
        ] {
            assert_eq!(image_place(other), None, "{other}");
        }
    }

    #[test]
    fn an_image_is_handed_out_with_what_is_known_of_it() {
        let image = Image {
            media_type: "image/png".into(),
            bytes: Bytes::from_static(b"1234"),
        };
        let entry = Entry {
            id: EntryId::from_uuid(Uuid::nil()),
            n: 7,
            run: None,
            wire_id: None,
            at_ms: 1,
            body: EntryBody::User {
                text: String::new(),
                images: vec![image],
                withheld: false,
            },
        };
        let params = json!({"artifactId": image_id(entry.id, 0), "sessionKey": "main"});
        let params: ArtifactsDownloadParams = serde_json::from_value(params).unwrap();
        let found = ArtifactsDownloadResult::image(&params, &entry, 0).unwrap();
        assert_eq!(
            serde_json::to_value(&found).unwrap(),
            json!({
                "artifact": {
                    "id": "artifact_transcript_image_00000000-0000-0000-0000-000000000000_0",
                    "type": "image", "title": "Image", "mimeType": "image/png", "sizeBytes": 4,
                    "sessionKey": "main", "messageSeq": 7, "source": "session-transcript",
                    "download": {"mode": "bytes"},
                },
                "encoding": "base64",
                "data": "MTIzNA==",
            })
        );
        assert_eq!(ArtifactsDownloadResult::image(&params, &entry, 1), None);

        let list = |params: Value, most| {
            let params: ArtifactsListParams = serde_json::from_value(params).unwrap();
            let entries = [
                entry.clone(),
                Entry {
                    n: 8,
                    ..entry.clone()
                },
            ];
            let result = ArtifactsListResult::images(&params, &entries, most);
            let seqs = result.artifacts.iter().map(|artifact| artifact.message_seq);
            seqs.collect::<Vec<_>>()
        };
        assert_eq!(
            list(json!({"sessionKey": "main", "type": "image"}), 9),
            [8, 7]
        );
        assert_eq!(list(json!({"sessionKey": "main"}), 1), [8]);
        assert_eq!(list(json!({"type": "file"}), 9), [0; 0]);
    }
}
