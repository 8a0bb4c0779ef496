//! `GET /v1/models` and `GET /v1/models/{id}`: the agents, as models.

use hyper::{Response, StatusCode};

use crate::dispatch::Dispatch;
use crate::openai::ModelList;

use super::body::Body;
use super::respond::{Refused, json};

/// Every agent.
pub(super) fn list(dispatch: &Dispatch) -> Response<Body> {
    json(StatusCode::OK, models(dispatch).to_json().freeze())
}

/// One agent; `encoded` is what stands in the path.
pub(super) fn one(dispatch: &Dispatch, encoded: &str) -> Result<Response<Body>, Refused> {
    let body = models(dispatch).one_json(encoded)?;
    Ok(json(StatusCode::OK, body.freeze()))
}

fn models(dispatch: &Dispatch) -> ModelList {
    let agents = dispatch.agents();
    let default = agents.default_agent().ok();
    let list = agents.list();
    ModelList::new(default.as_ref(), list.iter().map(|entry| &entry.id))
}
