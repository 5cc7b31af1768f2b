//! A login that is due, and the network between Kalit and its token endpoint.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::broker::{Broker, LoginRequest, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock};
use kalit_core::event::EventKind;
use kalit_core::ids::{AgentId, ProviderId};
use kalit_core::secret::Secret;
use kalit_journeys::bad_network::{BadNetwork, Fault};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::account;
use kalit_journeys::openclaw::{Version, read_json, write_json};
use kalit_journeys::proof;
use kalit_journeys::renewal::{BUSY, Scene};
use kalit_journeys::token_endpoint::{Door, authorization_code};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use url::Url;

use crate::rows::{RENEWED, Row};
use crate::{CALL, Count, EARLY, HOUR, LATE, MINUTE, MOMENT, MOST_IN_AN_HOUR, STEP, passing};

/// A login that is due, with Kalit in this process and the network between it and the endpoint.
pub struct Bed {
    pub scene: Scene,
    pub network: BadNetwork,
    pub broker: Broker,
    pub clock: Arc<ManualClock>,
}

impl Bed {
    pub async fn new(door: Door, host: IpAddr) -> Result<Self> {
        let scene = Scene::new(Version::V2026_6_1).await?;
        let (scheme, port) = match door {
            Door::Plain => ("http", scene.endpoint.port()),
            Door::Tls => ("https", scene.endpoint.tls_port()),
        };
        let network = BadNetwork::start((host, 0).into(), port).await?;
        let authority = scene.endpoint.ca_file();
        let kalit = scene
            .kalit
            .clone()
            .with_var("SSL_CERT_FILE", authority.to_string_lossy());
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let broker = kalit.broker(clock.clone())?;
        let bed = Self {
            scene,
            network,
            broker,
            clock,
        };
        bed.lead_to(&format!("{scheme}://{}/oauth/token", bed.network.address()))?;
        Ok(bed)
    }

    pub fn manifest_path(&self) -> PathBuf {
        self.scene.home.path().join("kalit/providers/openai.json")
    }

    /// Lets the manifest name this token endpoint.
    pub fn lead_to(&self, url: &str) -> Result<()> {
        let mut manifest = self.scene.endpoint.manifest(&[free_port()?]);
        manifest["tokenUrl"] = json!(url);
        write_json(&self.manifest_path(), &manifest)
    }

    /// One row, from the fault to a renewal that nobody asked for.
    pub async fn got_over(mut self, row: &Row, count: &mut Count) -> Result<()> {
        let before = self.store()?;
        self.network.set(row.fault.clone()).await?;
        let code = self.first_attempt().await?;
        ensure!(code == row.code, "{code}: {}", self.account()?);
        count.signed_out += usize::from(self.called_signed_out()?.is_some());
        if code != RENEWED {
            ensure!(self.store()? == before, "the store changed");
            ensure!(self.scene.journal()?.is_empty(), "something is in the journal");
        }
        let engine = self.broker.engine().await?;
        let mut events = engine.events();
        if proof::is_long() && row.code != RENEWED && row.code != "refresh.unknown" {
            self.lasts_an_hour(row).await?;
        }
        count.connections += self.network.seen();
        self.network.set(Fault::Mended).await?;
        if code != RENEWED {
            let mended = self.clock.now();
            let asked = self.scene.doors().len();
            if proof::is_long() {
                // An hour of a day is over.
                self.pass(row.wait.saturating_sub(HOUR + EARLY)).await?;
                // The last step of the schedule: a refusal without a known code gets the longest.
                let step = if row.code == "refresh.transient" {
                    HOUR
                } else {
                    10 * MINUTE
                };
                self.renewed(step + EARLY + LATE).await?;
            } else {
                self.pass(row.wait - EARLY).await?;
                ensure!(self.scene.doors().len() == asked, "sent before its time");
                self.renewed(EARLY + LATE).await?;
            }
            let waited = self.clock.now().millis_since(mended);
            let waited = Duration::from_millis(u64::try_from(waited)?);
            count.longest_wait = count.longest_wait.max(waited);
        }
        engine.stop().await;
        while let Ok(event) = events.try_recv() {
            count.signed_out += usize::from(event.kind == EventKind::SignedOut);
        }
        ensure!(self.account()?["state"] == "healthy", "{}", self.account()?);
        count.requests += self.scene.doors().len();
        count.reuses += self.scene.endpoint.reuses();
        let issued = self.scene.endpoint.current_refresh("acct-ada");
        let stored = &self.store()?["profiles"][&self.scene.profile]["refresh"];
        count.lost += usize::from(*stored != json!(issued));
        self.scene.settled()
    }

    /// Few requests while a fault goes on, and no other word for it.
    async fn lasts_an_hour(&self, row: &Row) -> Result<()> {
        for _ in 0..120 {
            self.pass(MINUTE / 2).await?;
            ensure!(self.called_signed_out()?.is_none(), "{}", self.account()?);
        }
        let sent = self.network.seen();
        ensure!(
            sent <= MOST_IN_AN_HOUR,
            "{}: {sent} requests in an hour",
            row.name
        );
        Ok(())
    }

    /// What the schedule sends now: the error's code, or [`RENEWED`].
    pub async fn first_attempt(&self) -> Result<String> {
        let broker = self.broker.clone();
        let attempt = tokio::spawn(async move { broker.refresh(RefreshTarget::Due).await });
        let outcomes = self.ended(attempt).await?;
        let outcome = outcomes.first().context("nothing was due")?;
        Ok(match &outcome.error {
            Some(error) => error.code.clone(),
            None => RENEWED.to_owned(),
        })
    }

    /// A sign-in whose answer is pasted: the error's code.
    pub async fn sign_in(&self) -> Result<Result<(), String>> {
        let openai = ProviderId::parse("openai").context("no provider")?;
        let session = self
            .broker
            .login(LoginRequest {
                provider: openai,
                agent: AgentId::main(),
                profile_id: Some(self.scene.profile_id()?),
                use_now: false,
            })
            .await?;
        let asked = Url::parse(session.authorize_url())?;
        let parameter = |name: &str| {
            let found = asked.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let mut last = Url::parse(&parameter("redirect_uri"))?;
        last.query_pairs_mut()
            .append_pair("code", &authorization_code("acct-ada"))
            .append_pair("state", &parameter("state"));
        session.handle().paste(&Secret::new(last.as_str()))?;
        let ended = self.ended(tokio::spawn(session.wait())).await?;
        Ok(ended.map(drop).map_err(|error| error.code().as_str().to_owned()))
    }

    /// Waits for a call of Kalit's; time passes only where nothing else ends it.
    async fn ended<T: Send + 'static>(&self, call: JoinHandle<T>) -> Result<T> {
        for _ in 0..CALL.as_secs() / STEP.as_secs() {
            let moment = if self.network.hangs() { MOMENT } else { BUSY };
            if until_some("its end", moment, || call.is_finished().then_some(()))
                .await
                .is_ok()
            {
                break;
            }
            passing::pass(&self.clock, STEP).await;
        }
        Ok(tokio::time::timeout(BUSY, call).await??)
    }

    /// The engine renews the login within this time, be it with a request that was on its way.
    pub async fn renewed(&self, limit: Duration) -> Result<()> {
        let healthy = || (self.account().ok()?["state"] == "healthy").then_some(());
        self.within(limit, "the renewal", healthy).await
    }

    /// The engine sends something within this time.
    pub async fn asked_again(&self, limit: Duration) -> Result<()> {
        let seen = self.network.seen();
        let asked = || (self.network.seen() > seen).then_some(());
        self.within(limit, "a request", asked).await
    }

    async fn within(&self, limit: Duration, what: &str, come: impl Fn() -> Option<()>) -> Result<()> {
        let mut left = limit;
        while !left.is_zero() {
            if until_some(what, MOMENT, &come).await.is_ok() {
                return Ok(());
            }
            self.pass(STEP).await?;
            left = left.saturating_sub(STEP);
        }
        until_some(what, BUSY, &come).await
    }

    /// Lets time pass and what it begins come to its end.
    pub async fn pass(&self, time: Duration) -> Result<()> {
        passing::pass(&self.clock, time).await;
        tokio::time::sleep(MOMENT).await;
        until_some("the end of a connection", BUSY, || {
            (self.network.hangs() || self.network.open() == 0).then_some(())
        })
        .await
    }

    pub fn store(&self) -> Result<Value> {
        read_json(&self.scene.home.profiles_path("main"))
    }

    pub fn account(&self) -> Result<Value> {
        let snapshot = serde_json::to_value(self.broker.snapshot())?;
        account(&snapshot, "main", &self.scene.profile)
    }

    /// The sentence with which a login is called signed out.
    pub fn called_signed_out(&self) -> Result<Option<String>> {
        let account = self.account()?;
        let called = account["state"] == "signed-out" || account["status"] == "signed-out";
        Ok(called.then(|| account["sentence"].as_str().unwrap_or_default().to_owned()))
    }
}
