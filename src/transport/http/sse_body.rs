//! The body of a streamed answer: a run's events as frames, as they come.
//!
//! Whatever is ready becomes one write; nothing ever waits to be batched. Silence is filled with
//! comments. Dropping the body means that the client has gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};

use crate::events::{Item, Record, Subscription};
use crate::openai::{HEARTBEAT, RunStream, Stream};
use crate::run::Terminal;

use super::guard::RunGuard;
use super::timing::Timing;

/// Bytes after which a frame is handed over although more is ready.
const FRAME_BYTES: usize = 64 * 1024;

/// Room for the frames of a stream that is read as fast as it is written.
const BUFFER_BYTES: usize = 4096;

#[derive(Debug)]
enum State {
    Fresh,
    Open,
    /// All data is written; the trailer follows.
    Told,
    Ended,
}

/// How the events of a run are worded.
#[derive(Debug)]
pub(super) enum Frames {
    /// As chunks of a chat completion.
    Chat(Stream),
    /// As events of a run.
    Run(RunStream),
}

impl Frames {
    fn open(&self, out: &mut BytesMut) {
        match self {
            Self::Chat(chat) => chat.open(out),
            Self::Run(_) => {}
        }
    }

    fn text(&mut self, out: &mut BytesMut, seq: u64, text: String) {
        match self {
            Self::Chat(chat) => chat.push_text(out, &text),
            Self::Run(run) => run.text(out, seq, text),
        }
    }

    fn record(&mut self, out: &mut BytesMut, seq: u64, record: &Record) {
        match (self, record) {
            (Self::Chat(chat), Record::Event(event)) => chat.push_event(out, event),
            (Self::Chat(_), Record::Started { .. }) => {}
            (Self::Run(run), Record::Event(event)) => run.event(out, seq, event),
            (Self::Run(run), Record::Started { at_ms }) => run.started(out, seq, *at_ms),
        }
    }

    fn gap(&self, out: &mut BytesMut, through: u64) {
        match self {
            // Only what is not part of the answer can be missing.
            Self::Chat(_) => {}
            Self::Run(_) => RunStream::gap(out, through),
        }
    }

    fn finish(&mut self, out: &mut BytesMut, seq: Option<u64>, terminal: &Terminal) {
        match self {
            Self::Chat(chat) => chat.finish(out, terminal),
            Self::Run(run) => run.finish(out, seq, terminal),
        }
    }
}

/// The events of one run, as Server-Sent Events.
#[pin_project]
#[derive(Debug)]
pub(super) struct SseBody {
    subscription: Subscription,
    frames: Frames,
    guard: RunGuard,
    state: State,
    buffer: BytesMut,
    heartbeat: Duration,
    /// What the trailer will say, for a caller who reads one.
    timing: Option<Timing>,
    /// When a comment is due; the timer itself is moved only when it fires.
    due: Instant,
    #[pin]
    timer: Sleep,
}

impl SseBody {
    /// Streams what `subscription` reads; a comment follows each `heartbeat` of silence.
    pub(super) fn new(
        subscription: Subscription,
        frames: Frames,
        guard: RunGuard,
        heartbeat: Duration,
    ) -> Self {
        let due = Instant::now() + heartbeat;
        Self {
            subscription,
            frames,
            guard,
            state: State::Fresh,
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            heartbeat,
            timing: None,
            due,
            timer: tokio::time::sleep_until(due),
        }
    }

    /// Ends with a trailer that says where the time went.
    #[must_use]
    pub(super) fn timed(mut self, timing: Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    pub(super) const fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    pub(super) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        if !matches!(self.state, State::Told) {
            self.as_mut().fill(cx);
        }
        let this = self.project();
        if this.buffer.is_empty() && matches!(this.state, State::Told) {
            *this.state = State::Ended;
            let trailer = this.timing.take().map(|timing| timing.trailer());
            return Poll::Ready(trailer.map(|trailer| Ok(Frame::trailers(trailer))));
        }
        if this.buffer.is_empty() {
            let comment = ready!(poll_heartbeat(this.timer, this.due, *this.heartbeat, cx));
            return Poll::Ready(Some(Ok(Frame::data(comment))));
        }
        *this.due = Instant::now() + *this.heartbeat;
        let bytes = this.buffer.split().freeze();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// Writes everything that is ready into the buffer, up to the size of a frame.
    fn fill(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let this = self.project();
        let (frames, out) = (this.frames, this.buffer);
        if matches!(this.state, State::Fresh) {
            frames.open(out);
            *this.state = State::Open;
        }
        while out.len() < FRAME_BYTES {
            let Poll::Ready(item) = this.subscription.poll_next(cx) else {
                return;
            };
            if let (Some(timing), Some(item)) = (this.timing.as_mut(), &item) {
                timing.note(item);
            }
            let end = match item {
                Some(Item::Text { seq, text }) => {
                    frames.text(out, seq, text);
                    continue;
                }
                Some(Item::Record { seq, record }) => {
                    frames.record(out, seq, &record);
                    continue;
                }
                Some(Item::Gap { through }) => {
                    frames.gap(out, through);
                    continue;
                }
                Some(Item::End { seq, terminal }) => Some((Some(seq), terminal)),
                None => {
                    let terminal = this.subscription.log().terminal();
                    terminal.map(|terminal| (None, terminal))
                }
            };
            if let Some((seq, terminal)) = end {
                frames.finish(out, seq, &terminal);
            }
            this.guard.release();
            *this.state = match this.timing {
                Some(_) => State::Told,
                None => State::Ended,
            };
            return;
        }
    }
}

/// Waits for the end of a silence.
fn poll_heartbeat(
    mut timer: Pin<&mut Sleep>,
    due: &mut Instant,
    heartbeat: Duration,
    cx: &mut Context<'_>,
) -> Poll<Bytes> {
    loop {
        ready!(timer.as_mut().poll(cx));
        let is_silent = *due <= timer.deadline();
        if is_silent {
            *due = Instant::now() + heartbeat;
        }
        timer.as_mut().reset(*due);
        if is_silent {
            return Poll::Ready(Bytes::from_static(HEARTBEAT));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use futures_util::future::BoxFuture;
    use tokio::sync::{broadcast, mpsc};

    use super::*;
    use crate::events::{
        Bus, CallError, Log, LogLimits, Logs, LogsConfig, Notice, RunCommand, RunReply,
    };
    use crate::ids::{AgentId, IdSource, RunId, SessionKey, SystemIds, WireId};
    use crate::openai::{ReplyHead, StreamOptions};
    use crate::run::{
        AbortCause, FinishReason, Front, OnDisconnect, Outcome, Owner, RunInfo, Storage, Terminal,
    };
    use crate::shutdown::Tasks;

    /// A bus that only notes the orders it is given.
    #[derive(Debug)]
    struct NotingBus(mpsc::Sender<(RunId, RunCommand)>);

    impl Bus for NotingBus {
        fn publish(&self, _notice: Notice) {}

        fn subscribe(&self) -> broadcast::Receiver<Notice> {
            broadcast::Sender::new(1).subscribe()
        }

        fn call(
            &self,
            run: RunId,
            command: RunCommand,
        ) -> BoxFuture<'_, Result<RunReply, CallError>> {
            Box::pin(async move {
                self.0.send((run, command)).await.unwrap();
                Ok(RunReply::Cancelled)
            })
        }
    }

    struct Rig {
        log: Arc<Log>,
        body: Pin<Box<SseBody>>,
        orders: mpsc::Receiver<(RunId, RunCommand)>,
        tasks: Tasks,
    }

    fn rig() -> Rig {
        let run_id = RunId::from_uuid(SystemIds.random());
        let log = Log::new(
            Arc::new(RunInfo {
                run_id,
                wire_id: WireId::parse("chatcmpl_1").unwrap(),
                session: SessionKey::from_canonical("agent:main:main"),
                agent: AgentId::parse("main").unwrap(),
                owner: Owner {
                    credential: "token".into(),
                    party: "test".into(),
                    device: None,
                    connection: None,
                },
                front: Front::Http,
                storage: Storage::Ephemeral,
                on_disconnect: OnDisconnect::CancelRun,
                accepted_at_ms: 0,
            }),
            LogLimits::default(),
        );
        let head = ReplyHead {
            id: "chatcmpl_1".to_owned(),
            created: 1,
            model: "m".to_owned(),
        };
        let (sender, orders) = mpsc::channel(4);
        let tasks = Tasks::new();
        let logs = Arc::new(Logs::new(LogsConfig::default()));
        let wire_id = log.info().wire_id.clone();
        let mut guard = RunGuard::asked(wire_id, logs, Arc::new(NotingBus(sender)), tasks.clone());
        guard.accepted(run_id);
        let body = SseBody::new(
            Subscription::from_start(Arc::clone(&log)),
            Frames::Chat(Stream::new(&head, StreamOptions::default())),
            guard,
            Duration::from_secs(15),
        );
        Rig {
            log,
            body: Box::pin(body),
            orders,
            tasks,
        }
    }

    /// The next frame, with what all chunks share left out.
    async fn next(body: &mut Pin<Box<SseBody>>) -> Option<String> {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await?;
        let bytes = frame.unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let shared = r#"{"id":"chatcmpl_1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":"#;
        Some(text.replace(shared, "…"))
    }

    fn end(log: &Log) {
        log.close(Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: None,
            ended_at_ms: 0,
            usage: None,
        });
    }

    const ROLE: &str = "data: …{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n";
    const FINISH: &str = "data: …{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    fn content(text: &str) -> String {
        format!("data: …{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
    }

    #[tokio::test(start_paused = true)]
    async fn the_role_comes_before_the_agent_and_what_is_ready_is_one_frame() {
        let mut rig = rig();
        assert_eq!(next(&mut rig.body).await.unwrap(), ROLE);
        rig.log.append_text("a");
        assert_eq!(next(&mut rig.body).await.unwrap(), content("a"));
        rig.log.append_text("b");
        rig.log.append_text("c");
        rig.log.append(Record::Started { at_ms: 1 });
        rig.log.append_text("d");
        end(&rig.log);
        let rest = next(&mut rig.body).await.unwrap();
        assert_eq!(
            rest,
            [content("bc"), content("d"), FINISH.to_owned()].concat()
        );
        assert!(rig.body.is_end_stream());
        assert_eq!(next(&mut rig.body).await, None);
        drop(rig.body);
        rig.tasks.join().await;
        assert!(
            rig.orders.try_recv().is_err(),
            "an ended run is not cancelled"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_timed_stream_ends_with_one_trailer() {
        let mut rig = rig();
        *rig.body.as_mut().project().timing = Some(Timing::start());
        rig.log.append(Record::Started { at_ms: 1 });
        assert_eq!(next(&mut rig.body).await.unwrap(), ROLE);
        tokio::time::advance(Duration::from_millis(7)).await;
        rig.log.append_text("a");
        end(&rig.log);
        let rest = next(&mut rig.body).await.unwrap();
        assert_eq!(rest, [content("a"), FINISH.to_owned()].concat());
        assert!(!rig.body.is_end_stream());
        let frame = poll_fn(|cx| rig.body.as_mut().poll_frame(cx)).await;
        let trailer = frame.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            trailer.get("server-timing").unwrap(),
            "queue;dur=0.0, ttft;dur=7.0, total;dur=7.0"
        );
        assert!(rig.body.is_end_stream());
        assert_eq!(next(&mut rig.body).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments_and_text_puts_them_off() {
        let mut rig = rig();
        let start = Instant::now();
        assert_eq!(next(&mut rig.body).await.unwrap(), ROLE);
        assert_eq!(next(&mut rig.body).await.unwrap(), ": keepalive\n\n");
        assert_eq!(start.elapsed().as_secs(), 15);
        tokio::time::advance(Duration::from_secs(10)).await;
        rig.log.append_text("a");
        assert_eq!(next(&mut rig.body).await.unwrap(), content("a"));
        assert_eq!(next(&mut rig.body).await.unwrap(), ": keepalive\n\n");
        assert_eq!(start.elapsed().as_secs(), 40);
        assert_eq!(next(&mut rig.body).await.unwrap(), ": keepalive\n\n");
        assert_eq!(start.elapsed().as_secs(), 55);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_stream_cancels_its_run() {
        let mut rig = rig();
        assert_eq!(next(&mut rig.body).await.unwrap(), ROLE);
        drop(rig.body);
        let order = rig.orders.recv().await.unwrap();
        let cancel = RunCommand::Cancel(AbortCause::ClientGone);
        assert_eq!(order, (rig.log.info().run_id, cancel));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_comes_in_frames_of_bounded_size() {
        let mut rig = rig();
        let text = "x".repeat(1_000_000);
        rig.log.append_text(&text);
        end(&rig.log);
        let mut whole = String::new();
        while let Some(frame) = next(&mut rig.body).await {
            assert!(frame.len() < 3 * FRAME_BYTES, "{}", frame.len());
            whole.push_str(&frame);
        }
        assert_eq!(whole.matches('x').count(), text.len());
        assert!(whole.ends_with(FINISH));
    }
}
