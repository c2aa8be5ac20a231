//! Which client logs in by which identity, and what it must come to.

use amr_emulator::{Emulator, Kind};

/// Whose token it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    Application,
    /// The machine's own identity.
    System,
    /// The user-assigned identity.
    User,
    /// None: it says this.
    Nobody(&'static str),
}
use Whose::{Application, Nobody, System, User};

/// A variable that is other than the host sets it.
type Changed = fn(&Emulator) -> (&'static str, String);

/// One login.
#[derive(Debug)]
pub(crate) struct Case {
    client: Client,
    pub(crate) kind: Kind,
    /// The argument of the client's program.
    pub(crate) way: &'static str,
    pub(crate) whose: Whose,
    /// What is particular, in its name.
    note: &'static str,
    pub(crate) changed: &'static [Changed],
    pub(crate) faults: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum Client {
    AzureIdentity,
    Msal,
}
use Client::{AzureIdentity, Msal};

impl Case {
    const fn new(client: Client, kind: Kind, way: &'static str, whose: Whose) -> Self {
        Self { client, kind, way, whose, note: "", changed: &[], faults: &[] }
    }

    const fn with(self, note: &'static str, changed: &'static [Changed]) -> Self {
        Self { note, changed, ..self }
    }

    const fn fault(self, note: &'static str, faults: &'static [&'static str]) -> Self {
        Self { note, faults, ..self }
    }

    pub(crate) fn name(&self) -> String {
        let client = match self.client {
            AzureIdentity => "azure-identity",
            Msal => "msal",
        };
        let kind = Kind::ALL.iter().find(|(_, kind)| *kind == self.kind).unwrap().0;
        format!("{client}: {kind}, {}{}", self.way, self.note)
    }

    pub(crate) const fn program(&self) -> &'static str {
        match self.client {
            AzureIdentity => "with_azure_identity.py",
            Msal => "with_msal.py",
        }
    }
}

const WRONG_SECRET: Changed = |_| ("AZURE_CLIENT_SECRET", "wrong".into());
const NOT_ASSIGNED: Changed =
    |_| ("EMULATOR_CLIENT_ID", "7d0a3c0e-5a55-4d3c-9c3a-5b6f0d9f0001".into());
const ROTATED: Changed = |emulator| {
    emulator.entra().rotate_federated_token();
    ("AZURE_FEDERATED_TOKEN_FILE", emulator.entra().federated_token_file().display().to_string())
};
/// A copy of the token that isn't the newest one.
const STALE: Changed = |emulator| {
    let copy = emulator.entra().federated_token_file().with_extension("copy");
    std::fs::write(&copy, emulator.entra().federated_token()).unwrap();
    emulator.entra().rotate_federated_token();
    ("AZURE_FEDERATED_TOKEN_FILE", copy.display().to_string())
};

/// All of them. msal has no Cloud Shell: its port there is fixed.
pub(crate) const CASES: &[Case] = &[
    Case::new(AzureIdentity, Kind::Secret, "secret", Application),
    Case::new(AzureIdentity, Kind::Secret, "default", Application),
    Case::new(AzureIdentity, Kind::Secret, "secret", Nobody("AADSTS7000215"))
        .with(" that is wrong", &[WRONG_SECRET]),
    Case::new(AzureIdentity, Kind::Certificate, "certificate", Application),
    Case::new(AzureIdentity, Kind::Certificate, "default", Application),
    Case::new(AzureIdentity, Kind::WorkloadIdentity, "workload", Application),
    Case::new(AzureIdentity, Kind::WorkloadIdentity, "workload", Application)
        .with(" after a rotation", &[ROTATED]),
    Case::new(AzureIdentity, Kind::WorkloadIdentity, "workload", Nobody("AADSTS700213"))
        .with(" with an old token", &[STALE]),
    Case::new(AzureIdentity, Kind::WorkloadIdentity, "default", Application),
    Case::new(AzureIdentity, Kind::IdentityBinding, "binding", Application),
    Case::new(AzureIdentity, Kind::Imds, "managed", System),
    Case::new(AzureIdentity, Kind::Imds, "client-id", User),
    Case::new(AzureIdentity, Kind::Imds, "object-id", User),
    Case::new(AzureIdentity, Kind::Imds, "resource-id", User),
    Case::new(AzureIdentity, Kind::Imds, "default", System),
    Case::new(AzureIdentity, Kind::Imds, "client-id", Nobody("Identity not found"))
        .with(" that is not assigned", &[NOT_ASSIGNED]),
    Case::new(AzureIdentity, Kind::AppService, "managed", System),
    Case::new(AzureIdentity, Kind::AppService, "client-id", User),
    Case::new(AzureIdentity, Kind::AppService, "object-id", User),
    Case::new(AzureIdentity, Kind::AppService, "resource-id", User),
    Case::new(AzureIdentity, Kind::AppService, "default", System),
    Case::new(AzureIdentity, Kind::AppService, "client-id", Nobody("No managed identity found"))
        .with(" that is not assigned", &[NOT_ASSIGNED]),
    Case::new(AzureIdentity, Kind::Arc, "managed", System),
    Case::new(AzureIdentity, Kind::Arc, "client-id", Nobody("Identity not found")),
    Case::new(AzureIdentity, Kind::Arc, "client-id", Nobody("did not confirm"))
        .fault(" at an old agent", &["token#1 ignore-selector"]),
    Case::new(AzureIdentity, Kind::CloudShell, "managed", System),
    Case::new(AzureIdentity, Kind::MachineLearning, "managed", System),
    Case::new(AzureIdentity, Kind::MachineLearning, "client-id", User),
    Case::new(AzureIdentity, Kind::ServiceFabric, "managed", System),
    Case::new(Msal, Kind::Secret, "secret", Application),
    Case::new(Msal, Kind::Secret, "secret", Nobody("AADSTS7000215"))
        .with(" that is wrong", &[WRONG_SECRET]),
    Case::new(Msal, Kind::Certificate, "certificate", Application),
    Case::new(Msal, Kind::Certificate, "thumbprint", Application),
    Case::new(Msal, Kind::WorkloadIdentity, "assertion", Application),
    Case::new(Msal, Kind::Imds, "managed", System),
    Case::new(Msal, Kind::Imds, "client-id", User),
    Case::new(Msal, Kind::Imds, "object-id", User),
    Case::new(Msal, Kind::Imds, "resource-id", User),
    Case::new(Msal, Kind::Imds, "client-id", Nobody("Identity not found"))
        .with(" that is not assigned", &[NOT_ASSIGNED]),
    Case::new(Msal, Kind::AppService, "managed", System),
    Case::new(Msal, Kind::AppService, "client-id", User),
    Case::new(Msal, Kind::AppService, "object-id", User),
    Case::new(Msal, Kind::AppService, "resource-id", User),
    Case::new(Msal, Kind::Arc, "managed", System),
    Case::new(Msal, Kind::MachineLearning, "managed", System),
    Case::new(Msal, Kind::MachineLearning, "client-id", User),
    Case::new(Msal, Kind::ServiceFabric, "managed", System),
];
