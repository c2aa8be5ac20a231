//! What JavaScript chooses: `npm/lib/options.js` makes it of what people write.

use alloc::string::String;
use core::time::Duration;

#[cfg(feature = "client")]
use redis_entraid_client::FileEnvironment;
#[cfg(feature = "client")]
use redis_entraid_client::{ConfigError, Settings};
use redis_entraid_client::{EnvSource, EnvironmentText, Error, FileSource};
#[cfg(feature = "client")]
use redis_entraid_core::auth::Protocol;
#[cfg(feature = "client")]
use redis_entraid_core::connection::{ClientName, Config, Idle, Replacement};
#[cfg(feature = "client")]
use redis_entraid_core::drive::Refresh;
use redis_entraid_core::policy::{Ratio, RefreshPolicy};
use redis_entraid_core::source::{ManagedIdentity, Selector};
use wasm_bindgen::prelude::*;

use crate::host::Host;
use crate::identity::Identity;
use crate::source::Source;

#[wasm_bindgen]
extern "C" {
    /// All numbers but the port are milliseconds, unless something else is said.
    pub type Options;

    #[wasm_bindgen(method, getter)]
    fn host(this: &Options) -> String;

    #[wasm_bindgen(method, getter)]
    fn port(this: &Options) -> Option<u16>;

    #[wasm_bindgen(method, getter)]
    fn address(this: &Options) -> Option<String>;

    #[wasm_bindgen(method, getter)]
    fn name(this: &Options) -> Option<String>;

    #[wasm_bindgen(method, getter)]
    fn resp2(this: &Options) -> bool;

    /// Whether only one task uses it, which may have a transaction open between calls.
    #[cfg(feature = "client")]
    #[wasm_bindgen(method, getter)]
    pub(crate) fn dedicated(this: &Options) -> bool;

    #[wasm_bindgen(method, getter, js_name = oneRequest)]
    fn one_request(this: &Options) -> bool;

    #[wasm_bindgen(method, getter)]
    fn idle(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = queueTimeout)]
    fn queue_timeout(this: &Options) -> Option<f64>;
    #[wasm_bindgen(method, getter, js_name = commandTimeout)]
    fn command_timeout(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = startTimeout)]
    fn start_timeout(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter)]
    fn deadline(this: &Options) -> Option<f64>;

    /// In bytes.
    #[wasm_bindgen(method, getter, js_name = maxReply)]
    fn max_reply(this: &Options) -> Option<u32>;

    /// How many bytes a subscriber keeps.
    #[wasm_bindgen(method, getter)]
    fn backlog(this: &Options) -> Option<u32>;

    #[wasm_bindgen(method, getter)]
    fn overlap(this: &Options) -> bool;

    /// Whether only one connection can be made.
    #[wasm_bindgen(method, getter)]
    fn once(this: &Options) -> bool;

    /// Whether there is a callback for pushes.
    #[wasm_bindgen(method, getter, js_name = hearsPushes)]
    pub(crate) fn hears_pushes(this: &Options) -> bool;

    /// In parts per million.
    #[wasm_bindgen(method, getter, js_name = refreshRatio)]
    fn refresh_ratio(this: &Options) -> Option<u32>;

    #[wasm_bindgen(method, getter, js_name = lowerRefreshBound)]
    fn lower_refresh_bound(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = tokenRequestTimeout)]
    fn token_request_timeout(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = maxAttempts)]
    fn max_attempts(this: &Options) -> Option<u32>;

    #[wasm_bindgen(method, getter, js_name = backoffMultiplier)]
    fn backoff_multiplier(this: &Options) -> Option<u32>;

    #[wasm_bindgen(method, getter, js_name = initialDelay)]
    fn initial_delay(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = maxDelay)]
    fn max_delay(this: &Options) -> Option<f64>;

    #[wasm_bindgen(method, getter, js_name = slowDelay)]
    fn slow_delay(this: &Options) -> Option<f64>;

    /// A random number below 2^53.
    #[wasm_bindgen(method, getter, js_name = seed)]
    fn random(this: &Options) -> f64;

    /// Whether tokens come from a function.
    #[wasm_bindgen(method, getter, js_name = hasProvider)]
    fn has_provider(this: &Options) -> bool;

    /// Whether the host can prove an application otherwise than by a secret.
    #[wasm_bindgen(method, getter, js_name = hasProof)]
    fn has_proof(this: &Options) -> bool;

    /// Whether there is a file at `path`, on a host where that can be seen.
    #[wasm_bindgen(method, js_name = hasFile)]
    fn has_file(this: &Options, path: &str) -> bool;

    /// A variable that describes an identity.
    #[wasm_bindgen(method)]
    fn variable(this: &Options, name: &str) -> Option<String>;
}

fn millis(number: f64) -> Duration {
    Duration::from_millis(number as u64)
}

impl Options {
    /// What a client is made of.
    #[cfg(feature = "client")]
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let mut settings = Settings::new(self.host(), self.seed());
        if let Some(port) = self.port() {
            settings.port = port;
        }
        settings.address = self.address();
        settings.policy = self.policy();
        let config = &mut settings.config;
        if let Some(name) = self.name() {
            let name = ClientName::new(&name).ok_or(ConfigError::Invalid("the client's name"))?;
            config.name = Some(name);
        }
        if self.resp2() {
            config.protocol = Protocol::Resp2;
        }
        if self.one_request() {
            settings.refresh = Refresh::OnDemand;
            config.set_info = false;
        }
        if self.overlap() {
            config.replacement = Replacement::Overlap;
        }
        settings.follow_moved = !self.once();
        if let Some(after) = self.idle() {
            config.idle = Idle::Keep(millis(after));
        }
        if let Some(timeout) = self.command_timeout() {
            config.command_timeout = millis(timeout);
        }
        settings.queue_timeout = self.queue_timeout().map(millis);
        settings.start_timeout = self.patience();
        settings.deadline = self.deadline().map(millis);
        if let Some(bytes) = self.max_reply() {
            settings.max_reply = usize::try_from(bytes).unwrap_or(settings.max_reply);
        }
        if let Some(bytes) = self.backlog() {
            settings.backlog = usize::try_from(bytes).unwrap_or(settings.backlog);
        }
        Ok(settings)
    }

    /// What a command may take.
    #[cfg(feature = "client")]
    pub(crate) fn command_patience(&self) -> Duration {
        self.command_timeout().map_or(Config::new(0).command_timeout, millis)
    }

    /// A number that differs from client to client.
    pub(crate) fn seed(&self) -> u64 {
        self.random() as u64
    }

    /// What the first token, and the first connection, may take.
    pub(crate) fn patience(&self) -> Duration {
        self.start_timeout().map_or(Duration::from_secs(30), millis)
    }

    /// How tokens are renewed.
    pub(crate) fn policy(&self) -> RefreshPolicy {
        let mut policy = RefreshPolicy::default();
        if let Some(ratio) = self.refresh_ratio().and_then(Ratio::from_ppm) {
            policy.expiration_refresh_ratio = ratio;
        }
        let retry = &mut policy.retry;
        if let Some(attempts) = self.max_attempts() {
            retry.max_attempts = attempts;
        }
        if let Some(multiplier) = self.backoff_multiplier() {
            retry.backoff_multiplier = multiplier;
        }
        for (chosen, of) in [
            (self.lower_refresh_bound(), &mut policy.lower_refresh_bound),
            (self.token_request_timeout(), &mut policy.token_request_timeout),
            (self.initial_delay(), &mut retry.initial_delay),
            (self.max_delay(), &mut retry.max_delay),
            (self.slow_delay(), &mut retry.slow_delay),
        ] {
            if let Some(time) = chosen {
                *of = millis(time);
            }
        }
        policy
    }

    /// Where its tokens come from.
    pub(crate) fn source(&self, host: &Host) -> Result<Source, Error> {
        if self.has_provider() {
            return Ok(Source::Function(host.clone()));
        }
        let variable = |name: &str| self.variable(name);
        let has_file = |path: &str| self.has_file(path);
        let source = match self.variable("managed") {
            Some(_) => FileSource::Common(EnvSource::Managed(self.managed())),
            #[cfg(feature = "client")]
            None => FileEnvironment::read(variable, has_file, self.has_proof())?.source,
            // There is no server.
            #[cfg(not(feature = "client"))]
            None => FileSource::read(variable, has_file, self.has_proof())?.0,
        };
        let scope = self.variable("scope").map(EnvironmentText::new);
        Ok(Source::Identity(Identity::new(host.clone(), source, scope)))
    }

    /// The managed identity that the variables name.
    fn managed(&self) -> ManagedIdentity<EnvironmentText> {
        let text = |name| self.variable(name).map(EnvironmentText::new);
        let selector = match (text("clientId"), text("objectId"), text("resourceId")) {
            (Some(id), ..) => Selector::ClientId(id),
            (_, Some(id), _) => Selector::ObjectId(id),
            (.., Some(id)) => Selector::ResourceId(id),
            _ => Selector::System,
        };
        match (text("endpoint").zip(text("header")), text("imds")) {
            (Some((endpoint, header)), _) => {
                ManagedIdentity::app_service(endpoint, header, selector)
            }
            (_, Some(base)) => ManagedIdentity::imds_at(base, selector),
            _ => ManagedIdentity::imds(selector),
        }
    }
}
