//! A caller that goes away stops paying: its run ends, streamed or not, at every stage.

use clawport::internals::shutdown::Phase;
use tokio::io::AsyncWriteExt;

use crate::support::http::{chat, chat_with};
use crate::support::{Puppet, Rig, RigConfig};

/// A call, streamed or not, in the session of this user.
fn call(user: &str, stream: bool) -> String {
    chat(&format!(
        r#"{{"user":"{user}","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#
    ))
}

async fn rig() -> (Rig, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Rig::start(RigConfig::with_agent(agent)).await, puppet)
}

async fn check_aborted(rig: &Rig, runs: u64) {
    rig.quiet().await;
    assert_eq!(rig.metrics.runs_aborted.get(), runs);
    assert_eq!(rig.metrics.runs_abandoned.get(), 0);
}

#[tokio::test]
async fn closing_a_stream_cancels_its_run() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    connection.send(call("u", true)).await;
    let run = puppet.next().await;
    run.says("some").await;
    connection.head().await;
    connection.events().await;
    drop(connection);
    run.given_up().await;
    check_aborted(&rig, 1).await;
}

#[tokio::test]
async fn closing_before_the_agent_said_anything_cancels_the_run() {
    for stream in [true, false] {
        let (rig, mut puppet) = rig().await;
        let mut connection = rig.connect().await;
        connection.send(call("u", stream)).await;
        let run = puppet.next().await;
        drop(connection);
        run.given_up().await;
        assert!(run.cancel.is_cancelled());
        check_aborted(&rig, 1).await;
    }
}

#[tokio::test]
async fn a_reset_cancels_like_a_close() {
    for stream in [true, false] {
        let (rig, mut puppet) = rig().await;
        let mut connection = rig.connect().await;
        connection.send(call("u", stream)).await;
        let run = puppet.next().await;
        // Closing with the linger time at zero sends a reset instead of an end.
        let socket = socket2::SockRef::from(&connection.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(connection);
        run.given_up().await;
        check_aborted(&rig, 1).await;
    }
}

#[tokio::test]
async fn a_half_closed_connection_counts_as_gone() {
    for stream in [true, false] {
        let (rig, mut puppet) = rig().await;
        let mut connection = rig.connect().await;
        connection.send(call("u", stream)).await;
        let run = puppet.next().await;
        connection.stream.shutdown().await.unwrap();
        run.given_up().await;
        connection.rest().await;
        check_aborted(&rig, 1).await;
    }
}

#[tokio::test]
async fn a_run_that_waits_is_cancelled_and_never_starts() {
    let (rig, mut puppet) = rig().await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    first.send(call("same", false)).await;
    let run = puppet.next().await;
    second.send(call("same", true)).await;
    assert_eq!(second.head().await.status, 200);
    drop(second);
    let mut third = rig.connect().await;
    third.send(call("same", false)).await;
    run.ends().await;
    assert_eq!(first.response().await.status(), 200);
    let last = puppet.next().await;
    last.says("third").await;
    last.ends().await;
    assert_eq!(third.response().await.content(), "third");
    assert!(puppet.is_idle());
    check_aborted(&rig, 1).await;
}

#[tokio::test]
async fn the_next_call_of_the_session_is_not_held_up() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    connection.send(call("same", true)).await;
    let run = puppet.next().await;
    drop(connection);
    let mut next = rig.connect().await;
    next.send(call("same", false)).await;
    run.given_up().await;
    drop(run);
    let run = puppet.next().await;
    run.says("on").await;
    run.ends().await;
    assert_eq!(next.response().await.content(), "on");
}

#[tokio::test]
async fn a_caller_may_leave_its_run_behind() {
    for stream in [true, false] {
        let (rig, mut puppet) = rig().await;
        let mut connection = rig.connect().await;
        let body =
            format!(r#"{{"stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let headers = [("x-openclaw-on-disconnect", "continue")];
        connection.send(chat_with(&headers, &body)).await;
        let run = puppet.next().await;
        drop(connection);
        // The gateway has noticed when it has nothing left to wait for.
        rig.drain.advance(Phase::Closing);
        while rig.metrics.connections_open.get() > 0 {
            tokio::task::yield_now().await;
        }
        run.says("on my own").await;
        run.ends().await;
        rig.quiet().await;
        assert_eq!(rig.metrics.runs_ok.get(), 1);
        assert_eq!(rig.metrics.runs_aborted.get(), 0);
    }
}

#[tokio::test]
async fn a_finished_answer_cancels_nothing() {
    let (rig, mut puppet) = rig().await;
    for stream in [true, false] {
        let mut connection = rig.connect().await;
        connection.send(call("u", stream)).await;
        let run = puppet.next().await;
        run.says("x").await;
        run.ends().await;
        assert_eq!(connection.response().await.status(), 200);
    }
    check_aborted(&rig, 0).await;
    assert_eq!(rig.metrics.runs_ok.get(), 2);
}

#[tokio::test]
async fn nothing_is_left_when_the_gateway_has_stopped() {
    let (rig, mut puppet) = rig().await;
    let mut idle = rig.connect().await;
    assert_eq!(idle.ask(chat("{")).await.status(), 400);
    let mut gone = rig.connect().await;
    gone.send(call("gone", true)).await;
    let left = puppet.next().await;
    drop(gone);
    left.given_up().await;
    let mut busy = rig.connect().await;
    busy.send(call("busy", true)).await;
    let run = puppet.next().await;
    rig.drain.advance(Phase::Closing);
    idle.closed().await;
    run.says("to the end").await;
    run.ends().await;
    assert!(busy.response().await.text().ends_with("data: [DONE]\n\n"));
    rig.drain.advance(Phase::Stopped);
    crate::support::soon(rig.tasks.join()).await;
    assert_eq!(rig.metrics.connections_open.get(), 0);
}
