//! A host that calls the gateway over HTTP: whole answers, streams, and readers that stall or
//! leave.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use crate::gateway::PORT;
use crate::plan::{Call, Reading, TOKEN};
use crate::trace::{Fact, Trace};

/// How long one call may take: everything a run can wait for, and the gateway being away.
const CALL_MAX: Duration = Duration::from_mins(1);

/// Makes one call after the other.
pub(crate) async fn run(name: String, calls: Vec<Call>, trace: Trace) -> turmoil::Result {
    for call in calls {
        sleep(call.after).await;
        let tag = call.script.tag.clone();
        match timeout(CALL_MAX, make(&call, &trace)).await {
            Ok(Ok(())) => {}
            Ok(Err(_broken)) => trace.note(Fact::CutOff { tag }),
            Err(_elapsed) => trace.note(Fact::Stuck {
                who: format!("{name} in {tag}"),
            }),
        }
    }
    Ok(())
}

async fn make(call: &Call, trace: &Trace) -> std::io::Result<()> {
    let tag = call.script.tag.clone();
    let connecting = TcpStream::connect(("gateway", PORT));
    // A partition may swallow the attempt.
    let Ok(stream) = timeout(Duration::from_secs(5), connecting).await else {
        trace.note(Fact::CutOff { tag });
        return Ok(());
    };
    let mut stream = stream?;
    stream.write_all(request(call).as_bytes()).await?;
    let mut seen = Vec::new();
    let body_at = loop {
        if let Some(end) = seen.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        if !more(&mut stream, &mut seen).await? {
            trace.note(Fact::CutOff { tag });
            return Ok(());
        }
    };
    if let Reading::Stalls(how_long) = call.reading {
        sleep(how_long).await;
    }
    loop {
        if let Reading::Leaves(after) = call.reading
            && seen.len() - body_at >= after
        {
            trace.note(Fact::Left { tag });
            return Ok(());
        }
        if !more(&mut stream, &mut seen).await? {
            break;
        }
    }
    trace.note(read(call, &seen, body_at));
    Ok(())
}

/// Reads on; false at the end. A partition lets no end through, so silence ends it too.
async fn more(stream: &mut TcpStream, seen: &mut Vec<u8>) -> std::io::Result<bool> {
    const SILENCE_MAX: Duration = Duration::from_secs(40);
    match timeout(SILENCE_MAX, stream.read_buf(seen)).await {
        Ok(read) => Ok(read? > 0),
        Err(_elapsed) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

fn request(call: &Call) -> String {
    let mut body = json!({
        "model": "openclaw",
        "stream": call.stream,
        "messages": [{"role": "user", "content": call.script.message()}],
    });
    if let Some(user) = call.user {
        body["user"] = json!(user);
    }
    let body = body.to_string();
    let key = call.key.map_or(String::new(), |key| {
        format!("x-openclaw-session-key: {key}\r\n")
    });
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n{key}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn read(call: &Call, seen: &[u8], body_at: usize) -> Fact {
    let head = String::from_utf8_lossy(&seen[..body_at]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    let is_chunked = head.contains("transfer-encoding: chunked");
    let (body, is_whole) = if is_chunked {
        dechunk(&seen[body_at..])
    } else {
        (seen[body_at..].to_vec(), true)
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let tag = call.script.tag.clone();
    if !call.stream || status != 200 {
        let json: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let text = json["choices"][0]["message"]["content"].as_str();
        return Fact::Answered {
            tag,
            status,
            text: text.unwrap_or_default().to_owned(),
            complete: is_whole && status == 200,
            error: status != 200,
        };
    }
    let mut text = String::new();
    let (mut finished, mut done, mut error) = (false, false, false);
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or(Value::Null);
        error |= chunk.get("error").is_some();
        text.push_str(
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or_default(),
        );
        finished |= chunk["choices"][0]["finish_reason"].is_string();
    }
    Fact::Answered {
        tag,
        status,
        text,
        complete: finished && done && is_whole,
        error,
    }
}

/// The body without its chunk headers, and whether its last chunk came.
fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|it| it == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else {
            break;
        };
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    (body, false)
}
