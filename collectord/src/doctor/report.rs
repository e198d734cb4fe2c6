//! What the doctor found, as one value: the exit code, the JSON document and the text for people derive from it.

use super::cure;
use super::prove::Proof;
use crate::failure::exit_code;
use crate::kernel::{HookTrial, Readers, Tried, blind_without, via};
use crate::privileges::MissingCapability;
use collector_common::{Class, Hook};
use serde_json::{Value, json};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    /// Attached, and no event of the doctor's own making came through it.
    Untested,
    /// Something is not seen, and named.
    Warn,
    Fail,
    /// Context: decides nothing.
    Info,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Untested => "untested",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// One look at the surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) status: Status,
    pub(super) name: &'static str,
    pub(super) found: String,
    pub(super) cure: Option<String>,
}

impl Check {
    pub(super) fn new(status: Status, name: &'static str, found: String, cure: Option<String>) -> Self {
        Self { status, name, found, cure }
    }

    pub(super) fn ok(name: &'static str, found: String) -> Self {
        Self::new(Status::Ok, name, found, None)
    }
}

/// Why a class is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unserved {
    pub(super) why: String,
    pub(super) cure: String,
    /// Capabilities that are missing for it.
    pub(super) missing: Vec<MissingCapability>,
}

/// One class.
#[derive(Debug, Clone)]
pub(super) struct ClassReport {
    pub(super) class: Class,
    pub(super) proof: Result<Proof, Unserved>,
}

impl ClassReport {
    pub(super) fn status(&self) -> Status {
        match &self.proof {
            Ok(_) => Status::Ok,
            Err(_) => Status::Fail,
        }
    }
}

/// One hook with both families of readers; `None` where the try did not come to it.
#[derive(Debug, Clone)]
pub(super) struct HookReport {
    pub(super) hook: Hook,
    pub(super) direct: Option<Tried>,
    pub(super) portable: Option<Tried>,
    /// Whether an event of the doctor's own came through it.
    pub(super) event: bool,
    /// If it cannot be attached.
    pub(super) cure: Option<String>,
}

impl HookReport {
    pub(super) fn new(hook: Hook, trials: &[HookTrial]) -> Self {
        let with = |readers| {
            let trial = trials.iter().find(|trial| trial.hook == hook && trial.readers == readers);
            trial.map(|trial| trial.tried.clone())
        };
        let (direct, portable) = (with(Readers::Direct), with(Readers::Portable));
        let mut report = Self { hook, direct, portable, event: false, cure: None };
        // The last family that is tried serves most kernels: its refusal is the one to cure.
        let last = report.portable.as_ref().or(report.direct.as_ref());
        if let Some(Tried::NotAttached(refusal) | Tried::NotLoaded(refusal)) = last
            && !report.is_served()
        {
            report.cure = Some(cure::of_hook(hook, refusal));
        }
        report
    }

    /// One family is enough.
    pub(super) fn is_served(&self) -> bool {
        [&self.direct, &self.portable].into_iter().flatten().any(|tried| *tried == Tried::Attached)
    }

    /// Whether another is refused for the same reasons, with the same cure and the same that is not seen.
    pub(super) fn is_refused_like(&self, other: &Self) -> bool {
        !self.is_served()
            && (&self.direct, &self.portable, &self.cure) == (&other.direct, &other.portable, &other.cure)
            && blind_without(self.hook) == blind_without(other.hook)
    }

    /// A hook that its class can do without is no failure, and one that is attached no proof.
    pub(super) fn status(&self) -> Status {
        match (self.is_served(), blind_without(self.hook)) {
            (true, _) if self.event => Status::Ok,
            (true, _) => Status::Untested,
            (false, Some(_)) => Status::Warn,
            (false, None) => Status::Fail,
        }
    }
}

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) kernel: String,
    pub(super) checks: Vec<Check>,
    pub(super) classes: Vec<ClassReport>,
    /// Why no hook could be tried by itself, if none could.
    pub(super) no_trials: Option<String>,
    pub(super) hooks: Vec<HookReport>,
}

impl Report {
    pub(super) fn exit_code(&self) -> u8 {
        let unserved: Vec<_> = self.classes.iter().filter_map(|class| class.proof.as_ref().err()).collect();
        if unserved.is_empty() {
            0
        } else if unserved.iter().any(|unserved| !unserved.missing.is_empty()) {
            exit_code::NO_PERMISSION
        } else {
            exit_code::UNAVAILABLE
        }
    }

    pub(super) fn json(&self) -> Value {
        let classes = self.classes.iter().map(|class| (class.class.name().to_owned(), class_json(class)));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "kernel": self.kernel,
            "exit_code": self.exit_code(),
            "checks": self.checks.iter().map(check_json).collect::<Vec<_>>(),
            "classes": classes.collect::<serde_json::Map<_, _>>(),
            "hooks_untried": self.no_trials,
            "hooks": self.hooks.iter().map(hook_json).collect::<Vec<_>>(),
        })
    }
}

fn check_json(check: &Check) -> Value {
    json!({ "name": check.name, "status": check.status.name(), "found": check.found, "cure": check.cure })
}

fn class_json(class: &ClassReport) -> Value {
    match &class.proof {
        Ok(proof) => {
            let hooks: Vec<Value> = proof
                .coverage
                .hooks
                .iter()
                .map(|hook| json!({ "via": hook.via, "rung": hook.rung, "readers": hook.readers }))
                .collect();
            json!({
                "status": class.status().name(),
                "hooks": hooks,
                "blind": proof.coverage.blind,
                "event_after_ms": proof.after.map(|after| after.as_secs_f64() * 1000.0),
                "helper_failed": proof.helper_failed,
            })
        }
        Err(unserved) => json!({
            "status": class.status().name(),
            "why": unserved.why,
            "cure": unserved.cure,
            "missing_capabilities": unserved.missing.iter().map(|missing| missing.name).collect::<Vec<_>>(),
        }),
    }
}

fn hook_json(report: &HookReport) -> Value {
    json!({
        "via": via(report.hook),
        "class": report.hook.class().name(),
        "stream": report.hook.stream(),
        "status": report.status().name(),
        "direct": report.direct.as_ref().map(tried_json),
        "portable": report.portable.as_ref().map(tried_json),
        "event": report.event,
        "blind_without": blind_without(report.hook),
        "cure": report.cure,
    })
}

fn tried_json(tried: &Tried) -> Value {
    let (loaded, attached, refused) = match tried {
        Tried::Attached => (true, true, None),
        Tried::NotAttached(refusal) => (true, false, Some(&refusal.reason)),
        Tried::NotLoaded(refusal) => (false, false, Some(&refusal.reason)),
    };
    json!({ "loaded": loaded, "attached": attached, "refused": refused })
}
