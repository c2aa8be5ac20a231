//! The command-line tools that a developer is signed in with.

use core::fmt;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::Stdio;

use redis_entraid_core::json;
use redis_entraid_core::source::{ConfigError, IoFailure, RESOURCE, SourceError};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{AccessToken, FetchError, Request, TokenSource};

/// The person who is signed in to one of Azure's command-line tools, on a developer's machine.
///
/// The server knows the person by the object id in the token, and needs an access policy for it as for any
/// identity: `az ad signed-in-user show --query id` shows it.
///
/// ```no_run
/// use redis_entraid::source::CommandLineTool;
///
/// let person = CommandLineTool::azure_cli();
/// # let _ = person;
/// ```
#[derive(Clone, Debug)]
pub struct CommandLineTool {
    tool: Tool,
    program: OsString,
    resource: String,
    tenant: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Tool {
    Cli,
    PowerShell,
    DeveloperCli,
}

impl CommandLineTool {
    /// Runs `az account get-access-token`, of the Azure CLI.
    pub fn azure_cli() -> Self {
        Self::new(Tool::Cli, if cfg!(windows) { "az.cmd" } else { "az" })
    }

    /// Runs `Get-AzAccessToken` of the module Az.Accounts, by PowerShell 7.
    pub fn azure_powershell() -> Self {
        Self::new(Tool::PowerShell, "pwsh")
    }

    /// Runs `azd auth token`, of the Azure Developer CLI.
    pub fn azure_developer_cli() -> Self {
        Self::new(Tool::DeveloperCli, "azd")
    }

    fn new(tool: Tool, program: &str) -> Self {
        Self { tool, program: program.into(), resource: RESOURCE.to_owned(), tenant: None }
    }

    /// Runs the tool at this path, if it isn't found by its name.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    /// Asks for a token of another tenant than the one that the tool is signed in to.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    fn command(&self) -> Command {
        let Self { tool, program, resource, tenant } = self;
        let mut command = Command::new(program);
        let tenant_option = match tool {
            Tool::Cli => {
                command.args(["account", "get-access-token", "--output", "json", "--resource"]);
                command.arg(resource);
                "--tenant"
            }
            Tool::DeveloperCli => {
                command.args(["auth", "token", "--output", "json", "--scope"]);
                command.arg(format!("{}/.default", resource.trim_end_matches('/')));
                "--tenant-id"
            }
            Tool::PowerShell => {
                // In single quotes only a quote is special.
                let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
                let mut get = format!("Get-AzAccessToken -ResourceUrl {}", quoted(resource));
                if let Some(tenant) = tenant {
                    get.push_str(&format!(" -TenantId {}", quoted(tenant)));
                }
                // Since Az.Accounts 5 it is a SecureString.
                command.args(["-NoProfile", "-NonInteractive", "-Command"]).arg(format!(
                    "$ErrorActionPreference = 'Stop'; $token = ({get}).Token; \
                    if ($token -is [securestring]) {{ \
                    [System.Net.NetworkCredential]::new('', $token).Password }} else {{ $token }}"
                ));
                return command;
            }
        };
        if let Some(tenant) = tenant {
            command.arg(tenant_option).arg(tenant);
        }
        command
    }

    /// The token in what the tool has said.
    fn token<'o>(&self, output: &'o [u8]) -> Option<&'o str> {
        let name = match self.tool {
            Tool::Cli => "accessToken",
            Tool::DeveloperCli => "token",
            Tool::PowerShell => return core::str::from_utf8(output.trim_ascii()).ok(),
        };
        let members = json::members(output).filter_map(Result::ok);
        let mut values = members.filter(|(key, _)| json::text_is(key, name));
        json::raw_text(values.next()?.1)
    }

    /// What makes it say a token.
    const fn login(&self) -> &'static str {
        match self.tool {
            Tool::Cli => "`az login`",
            Tool::PowerShell => "`Connect-AzAccount`",
            Tool::DeveloperCli => "`azd auth login`",
        }
    }
}

impl TokenSource for CommandLineTool {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        let mut command = self.command();
        command.stdin(Stdio::null()).kill_on_drop(true);
        if cfg!(unix) {
            // Nothing in the folder of whoever started us is run instead.
            command.current_dir("/");
        }
        let output = command.output().await.map_err(|error| {
            let failure = match error.kind() {
                ErrorKind::NotFound => IoFailure::NotFound,
                _ => IoFailure::File,
            };
            let program = self.program.to_string_lossy();
            FetchError::new(SourceError::Io(failure), Ran(format!("{program}: {error}")))
        })?;
        let (said, failed) = (Zeroizing::new(output.stdout), output.stderr);
        if !output.status.success() {
            let needs = SourceError::Config(ConfigError::Missing(self.login()));
            return Err(FetchError::new(needs, Ran(first_line(&failed))));
        }
        let token = self.token(&said).filter(|token| !token.is_empty());
        token.map(AccessToken::new).ok_or_else(|| SourceError::NoToken.into())
    }
}

/// What a tool says of itself.
#[derive(Debug)]
struct Ran(String);

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ran {}

/// The first line of `text` that says something, cut to what a person reads.
fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).take(200).collect()
}
