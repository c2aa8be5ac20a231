//! `token`

use crate::program::{Program, emulator};

#[test]
fn it_says_whose_token_it_is_and_how_long_it_lives_and_doesnt_show_it() {
    let emulator = emulator();
    let ran = Program::of(&emulator).run(&["token"]).exits(0).keeps_secrets_of(&emulator);
    let entra = emulator.entra();
    for part in [
        "AZURE_CLIENT_SECRET is set",
        &entra.tenant,
        &entra.principal.object_id,
        &entra.principal.client_id,
        &emulator.authority(),
        "https://redis.azure.com (Azure Managed Redis)",
        "59m 5",
        "next refresh",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = Program::of(&emulator)
        .run(&["token", "--json"])
        .exits(0)
        .keeps_secrets_of(&emulator)
        .json();
    assert_eq!(json["object_id"], entra.principal.object_id.as_str());
    assert_eq!(json["tenant"], entra.tenant.as_str());
    assert_eq!(json["application"], entra.principal.client_id.as_str());
    assert_eq!(json["for_redis"], true);
    assert!((3590..=3600).contains(&json["lifetime_seconds"].as_u64().unwrap()), "{json}");
    assert!((2300..=2520).contains(&json["next_refresh_seconds"].as_u64().unwrap()), "{json}");
    assert!(json.get("token").is_none());
}

#[test]
fn the_token_is_shown_only_if_asked_for() {
    let emulator = emulator();
    for args in [&["token", "--show-token"][..], &["token", "--show-token", "--json"]] {
        let ran = Program::of(&emulator).run(args).exits(0);
        let last = emulator.tokens().pop().unwrap();
        assert!(ran.out.contains(&last), "{}", ran.out);
    }
}

#[test]
fn an_opaque_token_is_not_shown_either() {
    let emulator = emulator();
    emulator.arm("token#* opaque").unwrap();
    let ran = Program::of(&emulator).run(&["token"]).keeps_secrets_of(&emulator);
    // It doesn't say whose it is, so that nobody can log in with it.
    ran.exits(4);
}

#[test]
fn it_needs_no_server() {
    let emulator = emulator();
    let mut environment = emulator.environment();
    environment.retain(|(name, _)| !name.starts_with("REDIS_"));
    let ran = Program::with(environment).run(&["token"]).exits(0);
    assert!(ran.out.contains(&emulator.entra().principal.object_id), "{ran:?}");
}

#[test]
fn the_client_id_of_a_managed_identity_may_be_an_argument() {
    let emulator = emulator();
    let user = &emulator.entra().user_assigned;
    let program = Program::with(emulator.managed_environment());
    let ran = program.run(&["token", "--client-id", &user.client_id]).exits(0);
    let ran = ran.keeps_secrets_of(&emulator);
    assert!(ran.out.contains("managed identity of this app, user-assigned"), "{ran:?}");
    assert!(ran.out.contains(&user.object_id), "{ran:?}");
}

#[test]
fn a_refused_secret_exits_with_4_and_a_missing_variable_with_3() {
    let emulator = emulator();
    let mut environment = emulator.environment();
    for (name, value) in &mut environment {
        if *name == "AZURE_CLIENT_SECRET" {
            value.push('x');
        }
    }
    let program = Program::with(environment.clone());
    let ran = program.run(&["token"]).exits(4).keeps_secrets_of(&emulator);
    assert!(ran.err.contains("AADSTS7000215") && ran.out.is_empty(), "{ran:?}");
    let json = program.run(&["token", "--json"]).exits(4).keeps_secrets_of(&emulator).json();
    assert_eq!(json["error"]["kind"], "token");
    environment.retain(|(name, _)| *name != "AZURE_TENANT_ID");
    let ran = Program::with(environment).run(&["token"]).exits(3);
    assert!(ran.err.contains("AZURE_TENANT_ID is not set"), "{ran:?}");
}
