//! The tools that a developer is signed in with.

use super::Get;

/// The tools that a developer is signed in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeveloperTool {
    /// The first of them that somebody is signed in to.
    Any,
    /// Azure CLI, `az`.
    AzureCli,
    /// Azure PowerShell, `pwsh`.
    AzurePowerShell,
    /// Azure Developer CLI, `azd`.
    AzureDeveloperCli,
}

impl DeveloperTool {
    /// The value of `AZURE_TOKEN_CREDENTIALS` that asks for it.
    pub fn credential(self) -> &'static str {
        Self::BY_NAME.iter().find(|(_, tool)| *tool == self).map_or("", |(name, _)| name)
    }

    /// The tools, by the values of `AZURE_TOKEN_CREDENTIALS`.
    const BY_NAME: [(&'static str, Self); 4] = [
        ("dev", Self::Any),
        ("AzureCliCredential", Self::AzureCli),
        ("AzurePowerShellCredential", Self::AzurePowerShell),
        ("AzureDeveloperCliCredential", Self::AzureDeveloperCli),
    ];

    /// The one that `AZURE_TOKEN_CREDENTIALS` asks for.
    pub(super) fn asked(get: Get<'_>) -> Option<Self> {
        let asked = get("AZURE_TOKEN_CREDENTIALS")?;
        let known = Self::BY_NAME.iter().find(|(name, _)| asked.eq_ignore_ascii_case(name));
        known.map(|(_, tool)| *tool)
    }
}
