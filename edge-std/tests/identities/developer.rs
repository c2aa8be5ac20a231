//! A developer's machine: tools that somebody is signed in to, and chains that end there.

use super::*;
use redis_entraid::source::Authority;
use redis_entraid::source::{
    CommandLineTool, ManagedIdentity, Selector, ServicePrincipal, TokenChain,
};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// A program of this test alone, which goes with it.
struct Program(PathBuf);

impl Program {
    fn new(name: &str, script: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("redis-entraid-tool-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        // Another process writes it: one that is started meanwhile would hold a file of ours open.
        let mut write = Command::new("sh");
        write.args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"]).arg(&file);
        let mut write = write.stdin(Stdio::piped()).spawn().unwrap();
        let text = format!("#!/bin/sh\n{script}\n");
        write.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(write.wait().unwrap().success());
        Self(file)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// The token that comes of `source`, or why there is none.
async fn fetched_by(emulator: &Emulator, source: impl TokenSource) -> Result<(), String> {
    let (mut client, mut events) = events(client_of(emulator, source));
    match fetched(&mut events).await {
        Event::FetchFailed { .. } => Err(client.problem().expect("there is none").to_string()),
        _ => client.command(args!["PING"]).await.map(drop).map_err(|error| error.to_string()),
    }
}

#[tokio::test]
async fn each_tool_is_asked_in_its_own_words() {
    let emulator = emulator(3600);
    let (_, token) = emulator.entra().login();
    let expect =
        |args: &str| format!("[ \"$*\" = '{args}' ] || {{ echo \"args: $*\" >&2; exit 1; }}");
    let az = expect(
        "account get-access-token --output json --resource https://redis.azure.com --tenant t",
    );
    let az = format!("{az}\necho '{{\n  \"accessToken\": \"{token}\", \"expires_on\": 1\n}}'");
    let az = Program::new("az-words", &az);
    let tool = CommandLineTool::azure_cli().with_tenant("t").with_program(&az.0);
    assert_eq!(fetched_by(&emulator, tool).await, Ok(()));
    let azd = expect("auth token --output json --scope https://redis.azure.com/.default");
    let azd = Program::new("azd-words", &format!("{azd}\necho '{{\"token\":\"{token}\"}}'"));
    let tool = CommandLineTool::azure_developer_cli().with_program(&azd.0);
    assert_eq!(fetched_by(&emulator, tool).await, Ok(()));
    let script = "case \"$4\" in *\"Get-AzAccessToken -ResourceUrl 'https://redis.azure.com' -TenantId 'my-tenant'\"*) ;; *) exit 1;; esac";
    let said = format!("{script}\necho 'WARNING: soon'\necho 'redis-entraid-token:{token}'");
    let pwsh = Program::new("pwsh-words", &said);
    let tool = CommandLineTool::azure_powershell().with_program(&pwsh.0);
    assert_eq!(fetched_by(&emulator, tool.clone().with_tenant("my-tenant")).await, Ok(()));
    // What a tool could take for a part of a command is none of a tenant.
    for tenant in ["it's", "x\u{2019}; calc", "$(id)", "a b", "--x=y\n"] {
        let error = fetched_by(&emulator, tool.clone().with_tenant(tenant)).await.unwrap_err();
        assert!(error.contains("characters that none has"), "{tenant}: {error}");
    }
}

#[tokio::test]
async fn a_tool_that_is_missing_or_signed_out_or_broken_is_told() {
    let emulator = emulator(3600);
    let tool = |program: &std::path::Path| CommandLineTool::azure_cli().with_program(program);
    let missing = fetched_by(&emulator, tool("/nonexistent/az".as_ref())).await.unwrap_err();
    assert!(missing.contains("/nonexistent/az"), "{missing}");
    let out = Program::new("az-out", "echo '\nERROR: Please run az login.\nmore' >&2; exit 1");
    let error = fetched_by(&emulator, tool(&out.0)).await.unwrap_err();
    assert!(error.contains("the identity needs `az login`"), "{error}");
    assert!(error.contains("ERROR: Please run az login.") && !error.contains("more"), "{error}");
    // What isn't about signing in is tried again, and no other tool is asked.
    let network = Program::new("az-network", "echo 'ERROR: connection reset' >&2; exit 1");
    let chain = TokenChain::new().then("Azure CLI", tool(&network.0)).then("other", tool(&out.0));
    let error = fetched_by(&emulator, chain).await.unwrap_err();
    assert!(error.contains("connection reset") && !error.contains("other: "), "{error}");
    for said in ["", "{}", "{\"accessToken\":\"\"}", "<html>"] {
        let odd = Program::new("az-odd", &format!("echo '{said}'"));
        let error = fetched_by(&emulator, tool(&odd.0)).await.unwrap_err();
        assert!(error.contains("no usable access_token"), "{said}: {error}");
    }
}

#[tokio::test]
async fn a_tool_that_hangs_is_ended_with_the_request() {
    let emulator = emulator(3600);
    let mark = std::env::temp_dir().join(format!("redis-entraid-hung-{}", std::process::id()));
    let hung = Program::new("az-hung", &format!("(sleep 2; touch {})", mark.display()));
    let tool = CommandLineTool::azure_cli().with_program(&hung.0);
    let policy = RefreshPolicy {
        token_request_timeout: Duration::from_millis(300),
        ..RefreshPolicy::default()
    };
    let (_client, mut events) = events(client_of(&emulator, tool).policy(policy));
    let event = fetched(&mut events).await;
    assert!(event.to_string().contains("timed out"), "{event}");
    drop(_client);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!mark.exists(), "it went on");
}

#[tokio::test]
async fn a_chain_says_what_each_member_said_and_keeps_the_one_that_works() {
    let emulator = emulator(3);
    let (_, token) = emulator.entra().login();
    let count = std::env::temp_dir().join(format!("redis-entraid-count-{}", std::process::id()));
    let azd = format!("echo x >> {}; echo '{{\"token\":\"{token}\"}}'", count.display());
    let azd = Program::new("azd-chain", &azd);
    let missing = || CommandLineTool::azure_cli().with_program("/nonexistent/az");
    let out = Program::new("pwsh-out", "echo 'Run Connect-AzAccount to login.' >&2; exit 1");
    let signed_out = || CommandLineTool::azure_powershell().with_program(&out.0);
    let chain = TokenChain::new().then("Azure CLI", missing()).then("PowerShell", signed_out());
    let error = fetched_by(&emulator, chain).await.unwrap_err();
    assert!(error.contains("Azure CLI: "), "{error}");
    assert!(error.contains("PowerShell: the identity needs `Connect-AzAccount`"), "{error}");
    let works = CommandLineTool::azure_developer_cli().with_program(&azd.0);
    let asked = std::env::temp_dir().join(format!("redis-entraid-asked-{}", std::process::id()));
    let first = format!("echo x >> {}; echo 'Please run az login.' >&2; exit 1", asked.display());
    let first = Program::new("az-first", &first);
    let first = CommandLineTool::azure_cli().with_program(&first.0);
    let chain = TokenChain::new().then("Azure CLI", first).then("azd", works);
    let (client, mut told) = events(client_of(&emulator, chain));
    assert!(matches!(fetched(&mut told).await, Event::Refreshed { .. }));
    client.identity().refresh_now();
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    for _ in 0..1000 {
        if lines(&count) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((lines(&asked), lines(&count)), (1, 2));
    drop(client);
    fs::remove_file(&count).unwrap();
    fs::remove_file(&asked).unwrap();
    // What Entra refuses is not asked for elsewhere.
    let authority = Authority::at_host(emulator.authority(), emulator.entra().tenant.clone());
    let id = emulator.entra().principal.client_id.clone();
    let wrong = ServicePrincipal::with_secret(authority, id, "wrong".to_owned());
    let next = Program::new("azd-next", &format!("touch {}", count.display()));
    let next = CommandLineTool::azure_developer_cli().with_program(&next.0);
    let chain = TokenChain::new().then("EnvironmentCredential", wrong).then("azd", next);
    let error = fetched_by(&emulator, chain).await.unwrap_err();
    assert!(error.contains("EnvironmentCredential: ") && error.contains("7000215"), "{error}");
    assert!(!count.exists());
}

#[tokio::test]
async fn a_chain_tries_again_what_may_be_there_in_a_moment() {
    let emulator = emulator(3600);
    let gone = ManagedIdentity::imds_at("http://127.0.0.1:1".to_owned(), Selector::System);
    let missing = CommandLineTool::azure_cli().with_program("/nonexistent/az");
    let chain = TokenChain::new().then("managed identity", gone).then("Azure CLI", missing);
    let (_client, mut told) = events(client_of(&emulator, chain));
    let Event::FetchFailed { error, .. } = fetched(&mut told).await else { panic!() };
    assert!(error.kind().is_retryable(), "{error}");
}

#[tokio::test]
async fn the_environment_may_name_a_tool() {
    let variables = |tool: &'static str| {
        Client::from_variables(move |name| match name {
            "REDIS_HOSTNAME" => Some("localhost".into()),
            "AZURE_TOKEN_CREDENTIALS" => Some(tool.into()),
            _ => None,
        })
    };
    for tool in
        ["dev", "AzureCliCredential", "AzurePowerShellCredential", "azuredeveloperclicredential"]
    {
        let chosen = variables(tool).unwrap().chosen().unwrap().to_string();
        assert!(chosen.contains("a developer's tool"), "{chosen}");
    }
    assert!(variables("VisualStudioCodeCredential").is_err());
}

#[tokio::test]
async fn the_environments_identity_comes_before_the_tools() {
    let emulator = emulator(3600);
    // What a variable asks for is that, and no other one.
    let tools = r#", "Azure CLI", "Azure PowerShell", "Azure Developer CLI"]"#;
    for (kind, has_tools) in [
        (Kind::Secret, false),
        (Kind::WorkloadIdentity, false),
        (Kind::AppService, false),
        (Kind::Imds, true),
    ] {
        let chain = TokenChain::from_variables(variables(&emulator, kind)).unwrap();
        let shown = format!("{chain:?}");
        assert_eq!(shown.ends_with(tools), has_tools, "{shown}");
        assert_eq!(fetched_by(&emulator, chain).await, Ok(()), "{kind:?}");
    }
    emulator.reset();
    emulator.arm("token#* refuse invalid_client 7000215 401").unwrap();
    let chain = TokenChain::from_variables(variables(&emulator, Kind::Secret)).unwrap();
    let error = fetched_by(&emulator, chain).await.unwrap_err();
    assert!(error.contains("no identity gives a token: EnvironmentCredential: "), "{error}");
    assert!(!error.contains("Azure CLI"), "{error}");
    for (asked, members) in [
        ("prod", r#"["ManagedIdentityCredential"]"#),
        ("AzureCliCredential", r#"["AzureCliCredential"]"#),
        ("dev", r#"["dev"]"#),
    ] {
        let get = |name| (name == "AZURE_TOKEN_CREDENTIALS").then(|| asked.to_owned());
        let chain = TokenChain::from_variables(get).unwrap();
        assert_eq!(format!("{chain:?}"), members);
    }
}
