//! Whether this machine has the agent of Azure Arc, whose variables a process may not have got.

use alloc::borrow::ToOwned;

use super::{Asked, Get, HasFile};

/// The program of the agent on Linux, by which Microsoft's clients find it, too.
const ON_LINUX: &str = "/opt/azcmagent/bin/himds";

/// The same on Windows, behind `%ProgramFiles%`.
const ON_WINDOWS: &str = r"\AzureConnectedMachineAgent\himds.exe";

impl Asked {
    /// The identity of Azure Arc in place of the machine's in Azure, where its agent is installed and nobody says
    /// where the metadata service is.
    pub(super) fn or_of_agent(self, get: Get<'_>, has_file: HasFile<'_>) -> Self {
        if self != Self::Imds || get(self.variable()).is_some() {
            return self;
        }
        let program = match get("ProgramFiles") {
            Some(folder) => folder + ON_WINDOWS,
            None => ON_LINUX.to_owned(),
        };
        if has_file(&program) { Self::ArcAgent } else { self }
    }
}
