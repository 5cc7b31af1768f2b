//! A sign-in of OpenClaw's own, in a pseudo-terminal: started, read, answered, cancelled. What it
//! claims at its end is not believed: whoever started it reads the store.
//!
//! What a person types is written to the terminal alone. OpenClaw runs in a session of its own, so
//! that all it started ends with it.

mod page;
pub(super) mod prompts;

use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as threads};
use std::time::Duration;

use portable_pty::{Child, ChildKiller, CommandBuilder, PtySize, native_pty_system};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::cli::failed;
use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};
use prompts::Prompts;
pub use prompts::{AskKind, LoginStep};

/// A person has to find the browser, the password and the second factor.
const LIMIT: Duration = Duration::from_secs(600);
/// How long OpenClaw may be silent after it told what it stored. 2026.7.1 does not end by itself
/// when the browser came back before the address was pasted (observed).
const SILENCE: Duration = Duration::from_secs(5);
/// How it tells what it stored (2026.6.1 to 2026.9.6).
pub(crate) const STORED: &str = "Auth profile: ";
/// From Ctrl-C to the kill.
const GRACE: Duration = Duration::from_secs(3);
/// What is still in the terminal when the program has ended is read this long.
const DRAIN: Duration = Duration::from_secs(1);
/// So wide that nothing is wrapped, so high that no list is cut.
const SIZE: PtySize = PtySize {
    rows: 200,
    cols: 1000,
    pixel_width: 0,
    pixel_height: 0,
};
const INTERRUPT: u8 = 0x03;

/// A program in a pseudo-terminal, ended when this is dropped.
pub(crate) struct Terminal {
    pub steps: mpsc::UnboundedReceiver<LoginStep>,
    pub handle: OpenClawLoginHandle,
    /// Comes once, when the program has ended.
    pub ended: oneshot::Receiver<Ended>,
}

/// How it ended and what it said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ended {
    pub end: End,
    /// The last line outside of notes, free of secrets.
    pub last_line: Option<String>,
    /// All lines, free of secrets.
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    ByItself,
    Cancelled,
    TimedOut,
}

/// Answers questions and cancels; clones are the same sign-in.
#[derive(Clone)]
pub struct OpenClawLoginHandle {
    prompts: Arc<Mutex<Prompts>>,
    keys: threads::Sender<Zeroizing<Vec<u8>>>,
    cancelled: Arc<watch::Sender<bool>>,
}

impl Terminal {
    /// Starts the program of `command` with its arguments, variables and directory.
    ///
    /// # Errors
    /// `openclaw.failed`.
    pub fn start(command: &Command) -> Result<Self> {
        Self::start_within(command, LIMIT)
    }

    fn start_within(command: &Command, limit: Duration) -> Result<Self> {
        let cannot = |what: &str| failed(&say!("no terminal for it ({what})", what));
        let pair = native_pty_system()
            .openpty(SIZE)
            .map_err(|_| cannot(&say!("the system gives none")))?;
        let output = pair
            .master
            .try_clone_reader()
            .map_err(|_| cannot(&say!("it cannot be read")))?;
        let input = pair
            .master
            .take_writer()
            .map_err(|_| cannot(&say!("it cannot be written to")))?;
        let child = pair
            .slave
            .spawn_command(in_terminal(command))
            .map_err(|_| failed(&say!("it cannot be started in a terminal")))?;
        // Reading ends with the last process that has the terminal open: not this one.
        drop(pair.slave);

        let running = Running::of(child.as_ref());
        let (tell_step, steps) = mpsc::unbounded_channel();
        let (tell_end, ended) = oneshot::channel();
        let (cancelled, cancel) = watch::channel(false);
        let handle = OpenClawLoginHandle {
            prompts: Arc::default(),
            keys: typing(input),
            cancelled: Arc::new(cancelled),
        };
        let attendant = Attendant {
            output: reading(output),
            exited: waiting(child),
            cancel,
            prompts: Arc::clone(&handle.prompts),
            keys: handle.keys.clone(),
            steps: tell_step,
            lines: Vec::new(),
            asked: 0,
            running,
        };
        let master = pair.master;
        tokio::spawn(async move {
            let ended = attendant.attend(limit).await;
            // The terminal stays open as long as somebody may read from it.
            drop(master);
            let _ = tell_end.send(ended);
        });
        Ok(Self { steps, handle, ended })
    }
}

impl OpenClawLoginHandle {
    /// Types a text and Enter; an empty one takes what the question offers. The text never comes
    /// back in a step.
    ///
    /// # Errors
    /// `usage` when this is not what is asked now; `secret.whitespace` for a text of several lines.
    pub fn answer(&self, ask: u32, text: &Secret) -> Result<()> {
        let keys = locked(&self.prompts).keys_for(ask, text)?;
        self.press(keys)
    }

    /// Chooses one of a question's choices, counted from 0.
    ///
    /// # Errors
    /// `usage` when this is not what is asked now.
    pub fn choose(&self, ask: u32, choice: usize) -> Result<()> {
        let keys = locked(&self.prompts).keys_to_choose(ask, choice)?;
        self.press(Zeroizing::new(keys))
    }

    /// Ends the sign-in, with what it started: Ctrl-C, and after three seconds by force. What is
    /// in the store by then stays there.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    fn press(&self, keys: Zeroizing<Vec<u8>>) -> Result<()> {
        self.keys
            .send(keys)
            .map_err(|_| Error::new(ErrorCode::Usage, say!("the sign-in has ended")))
    }
}

impl fmt::Debug for OpenClawLoginHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OpenClawLoginHandle(…)")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// It told what it stored: it should end now.
    Stored,
    /// Ctrl-C was typed: what does not listen is killed.
    Interrupted,
}

/// Stays with the program until it has ended.
struct Attendant {
    output: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>,
    exited: oneshot::Receiver<()>,
    cancel: watch::Receiver<bool>,
    prompts: Arc<Mutex<Prompts>>,
    keys: threads::Sender<Zeroizing<Vec<u8>>>,
    steps: mpsc::UnboundedSender<LoginStep>,
    lines: Vec<String>,
    /// The number of the newest question.
    asked: u32,
    running: Running,
}

impl Attendant {
    async fn attend(mut self, limit: Duration) -> Ended {
        let (mut end, mut stage) = (End::ByItself, Stage::Running);
        let last = Instant::now() + limit;
        let mut deadline = last;
        let mut asked_before = 0;
        let mut readable = true;
        loop {
            tokio::select! {
                output = self.output.recv(), if readable => match output {
                    Some(output) => {
                        self.read(&output);
                        let stored = self.lines.iter().any(|line| line.starts_with(STORED));
                        if stored && stage == Stage::Running {
                            stage = Stage::Stored;
                            asked_before = self.asked;
                        }
                        if stage == Stage::Stored {
                            // 2026.9.6 may ask something after it has stored: that is the
                            // person's to answer, in their own time.
                            deadline = if self.asked > asked_before {
                                last
                            } else {
                                last.min(Instant::now() + SILENCE)
                            };
                        }
                    }
                    None => readable = false,
                },
                _ = &mut self.exited => break,
                () = asked_to_end(&mut self.cancel), if end == End::ByItself => {
                    end = End::Cancelled;
                    stage = Stage::Interrupted;
                    deadline = Instant::now() + GRACE;
                    self.interrupt();
                }
                () = tokio::time::sleep_until(deadline) => {
                    deadline = Instant::now() + GRACE;
                    match stage {
                        Stage::Running => {
                            end = End::TimedOut;
                            stage = Stage::Interrupted;
                            self.interrupt();
                        }
                        Stage::Stored => {
                            stage = Stage::Interrupted;
                            self.interrupt();
                        }
                        Stage::Interrupted => self.running.kill(),
                    }
                }
            }
        }
        self.running.ended = true;
        let rest = async {
            while let Some(output) = self.output.recv().await {
                self.read(&output);
            }
        };
        // A process that it left behind may keep the terminal open.
        let _ = tokio::time::timeout(DRAIN, rest).await;
        let last = locked(&self.prompts).finish();
        self.tell(last);
        Ended {
            end,
            last_line: locked(&self.prompts).last_line().map(str::to_owned),
            lines: self.lines,
        }
    }

    fn interrupt(&self) {
        // A program that has ended needs none.
        let _ = self.keys.send(Zeroizing::new(vec![INTERRUPT]));
    }

    fn read(&mut self, output: &[u8]) {
        let steps = locked(&self.prompts).feed(output);
        self.tell(steps);
    }

    fn tell(&mut self, steps: Vec<LoginStep>) {
        for step in steps {
            match &step {
                LoginStep::Said { line } => self.lines.push(line.clone()),
                LoginStep::Ask { ask, .. } => self.asked = *ask,
                LoginStep::Url { .. } | LoginStep::DeviceCode { .. } => {}
            }
            // Nobody may listen: the sign-in goes on.
            let _ = self.steps.send(step);
        }
    }
}

/// The program and its session, killed when it is dropped before its end.
struct Running {
    /// It leads a process group of its own.
    #[cfg(unix)]
    pid: Option<u32>,
    killer: Box<dyn ChildKiller + Send + Sync>,
    ended: bool,
}

impl Running {
    fn of(child: &(dyn Child + Send + Sync)) -> Self {
        Self {
            #[cfg(unix)]
            pid: child.process_id(),
            killer: child.clone_killer(),
            ended: false,
        }
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self
            .pid
            .and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?))
        {
            // One that is gone needs no kill.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.killer.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

fn in_terminal(command: &Command) -> CommandBuilder {
    let command = command.as_std();
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            builder.env(name, value);
        }
    }
    builder.env("TERM", "xterm-256color");
    builder.env("COLUMNS", SIZE.cols.to_string());
    builder.env("LINES", SIZE.rows.to_string());
    // So OpenClaw (2026.6.1 to 2026.9.6) takes the browser for one elsewhere and opens none, and
    // offers to paste the last address at once: exactly one opens it, and that is Kalit.
    builder.env("SSH_CONNECTION", "127.0.0.1 0 127.0.0.1 0");
    if let Some(dir) = command.get_current_dir() {
        builder.cwd(dir);
    }
    builder
}

/// A thread that types: a program that does not read its terminal blocks nobody else.
fn typing(mut input: Box<dyn Write + Send>) -> threads::Sender<Zeroizing<Vec<u8>>> {
    let (keys, pressed) = threads::channel::<Zeroizing<Vec<u8>>>();
    std::thread::spawn(move || {
        for keys in pressed {
            if input.write_all(&keys).and_then(|()| input.flush()).is_err() {
                break;
            }
        }
    });
    keys
}

fn reading(mut output: Box<dyn Read + Send>) -> mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>> {
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut buffer = Zeroizing::new(vec![0; 16 * 1024]);
        // The end of a terminal is an error on Linux.
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if tell.send(Zeroizing::new(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    told
}

fn waiting(mut child: Box<dyn Child + Send + Sync>) -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = child.wait();
        let _ = tell.send(());
    });
    told
}

/// Comes back when it is cancelled; never when nobody is left who could.
async fn asked_to_end(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending().await
    }
}

fn locked(prompts: &Mutex<Prompts>) -> MutexGuard<'_, Prompts> {
    prompts.lock().unwrap_or_else(PoisonError::into_inner)
}

// Processes are looked up in /proc.
#[cfg(all(test, target_os = "linux"))]
mod tests;
