//! The golden frames of `proto/frames/` against the codec and against the schemas.

use std::fs;
use std::path::{Path, PathBuf};

use super::frame::RequestFrame;
use super::validate::violations;
use super::{EventFrame, FrameError, ResponseFrame, ServerFrame, encode_request};

/// Every golden frame of a folder, without the line break at its end.
pub(super) fn frames(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("proto/frames")
        .join(folder);
    let mut frames: Vec<(PathBuf, String)> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.strip_suffix('\n').unwrap().to_owned();
            (path, text)
        })
        .collect();
    frames.sort();
    assert!(frames.len() > 3, "{folder} has lost its frames");
    frames
}

#[test]
fn requests_survive_decoding_and_encoding() {
    for (path, text) in frames("request") {
        let frame = RequestFrame::decode(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(encode_request(&frame).unwrap(), text, "{path:?}");
    }
}

#[test]
fn server_frames_survive_decoding_and_encoding() {
    for (path, text) in frames("response").into_iter().chain(frames("event")) {
        let again = match ServerFrame::decode(&text).unwrap() {
            ServerFrame::Response(frame) => serde_json::to_string(&frame),
            ServerFrame::Event(frame) => serde_json::to_string(&frame),
        };
        assert_eq!(again.unwrap(), text, "{path:?}");
    }
}

#[test]
fn invalid_requests_are_refused_in_the_words_on_record() {
    for (path, text) in frames("invalid") {
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        let error = RequestFrame::decode(&text).unwrap_err();
        assert_ne!(error, FrameError::NotJson, "{path:?}");
        assert_eq!(error.to_string(), expected.trim_end(), "{path:?}");
    }
}

#[test]
fn the_schemas_of_frames_agree_with_the_codec() {
    for (path, text) in frames("request") {
        let problem = violations::<RequestFrame<'static>>(&text);
        assert!(problem.is_empty(), "{path:?}: {problem}");
    }
    for (path, text) in frames("response") {
        let problem = violations::<ResponseFrame<'static>>(&text);
        assert!(problem.is_empty(), "{path:?}: {problem}");
    }
    for (path, text) in frames("event") {
        let problem = violations::<EventFrame<'static>>(&text);
        assert!(problem.is_empty(), "{path:?}: {problem}");
    }
    for (path, text) in frames("invalid") {
        assert!(
            !violations::<RequestFrame<'static>>(&text).is_empty(),
            "{path:?}"
        );
    }
}
