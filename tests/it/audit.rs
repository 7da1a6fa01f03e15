//! The audit log as evidence: every entry in its organization's chain, nothing passed over, and
//! whatever is changed afterwards is found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::audit::head::{self, Head, heads};
use mailward::app::audit::verify::{Verdict, read_heads, verify_database, verify_export};
use mailward::app::audit::{export, seal};
use mailward::app::tidy;
use mailward::app::worker;
use mailward::clock::SECOND;
use mailward::domain::ids::{ChangeId, OrganizationId};
use mailward::store;
use mailward::store::audit::AuditRow;
use mailward::store::engine::{Db, Tx, migrate, params};
use serde_json::{Value, json};

use crate::cli::Place;
use crate::support::databases::{TestDb, on_sqlite, options, runtime};
use crate::support::postgres::{Server, empty_on};
use crate::support::world::{START, World, config, organization};

async fn make_changes(world: &World, many: usize) {
    for number in 0..many {
        let name = json!({"displayName": format!("Mia the {number}")});
        world.own_mode(&world.member, "displaynameupdate", name).await.ok();
    }
}

/// Seals everything. A PostgreSQL server of many tests always has open transactions, which it waits for.
async fn seal_all(world: &World) {
    let name = seal::name(&world.app);
    seal_until(world, &name, total(world).await).await;
    seal::give_back(&world.app, &name).await.expect("given back");
}

async fn seal_until(world: &World, name: &str, many: i64) {
    let start = Instant::now();
    while sealed(&world.app.db, world.zoid).await < many {
        assert!(start.elapsed() < Duration::from_secs(60), "not sealed");
        seal::seal_due(&world.app, name).await.expect("sealing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn exported(world: &World) -> Vec<String> {
    seal_all(world).await;
    let mut bytes = Vec::new();
    export::export(&world.app, world.zoid, &mut bytes).await.expect("an export");
    String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
}

fn verified(lines: &[String], outside: &[Head]) -> Verdict {
    let text = lines.join("\n") + "\n";
    verify_export(&mut text.as_bytes(), outside, &[]).expect("an export")
}

/// The findings on a tampered export; there must be some.
#[track_caller]
fn found(lines: &[String], outside: &[Head]) -> String {
    let findings = verified(lines, outside).findings;
    assert!(!findings.is_empty(), "nothing was found in {lines:#?}");
    findings.join("\n")
}

async fn database(world: &World, outside: &[Head]) -> Vec<String> {
    let verdicts = verify_database(&world.app, Some(world.zoid), outside, &[]).await.expect("a verdict");
    verdicts.into_iter().flat_map(|verdict| verdict.findings).collect()
}

async fn tampered<const N: usize>(world: &World, statements: [&'static str; N]) {
    let done = world.app.db.write(async move |tx: &mut Tx| {
        for sql in statements {
            tx.execute(sql, params![]).await?;
        }
        Ok(())
    });
    done.await.expect("tampered");
}

async fn sealed(db: &Db, zoid: OrganizationId) -> i64 {
    let mut tx = db.read().await.expect("a connection");
    store::audit_chain::tip(&mut tx, zoid).await.expect("a tip").number
}

both_engines! {
    async fn a_log_that_nobody_changed_is_whole(db: Db) {
        let world = World::start(db).await;
        make_changes(&world, 5).await;
        world.mode(&world.member, &world.owner, "disableUser", json!({})).await.refused(403, "OPERATION_NOT_PERMITTED");
        // Refused by an accountId, a number that nobody has, and an address that somebody has.
        let off = json!({"mode": "disableUser"});
        for number in [world.owner.account_id, 1_000_000_999_999] {
            let path = format!("/api/organization/{}/accounts/{number}", world.zoid);
            world.with_body("PUT", &world.admin.org_token, &path, off.clone()).await;
        }
        let taken = json!({"primaryEmailAddress": world.member.email, "password": "t*c9ma-1234"});
        let path = format!("/api/organization/{}/accounts", world.zoid);
        world.with_body("POST", &world.admin.org_token, &path, taken).await;
        world.app.clock.advance(120 * SECOND);
        tidy::run(&world.app).await.expect("the refusals become entries");
        let lines = exported(&world).await;
        let of = |line: &&String, person: &str| line.contains(r#""refused""#) && line.contains(&format!(r#""person":"{person}""#));
        let named = |person: &str| lines.iter().filter(|line| of(line, person)).count();
        let seen = [&world.owner, &world.member].map(|who| named(&who.zuid.to_string()));
        assert_eq!(seen, [2, 1], "{lines:#?}");
        let outside = heads(&world.app, None).await.expect("heads");
        let verdict = verified(&lines, &outside);
        assert_eq!(verdict.findings, [""; 0]);
        assert!(verdict.entries > 10, "{verdict:?}");
        assert_eq!(i64::try_from(lines.len()).expect("few"), verdict.entries + 2);
        assert_eq!(verdict.heads, 1, "the organization's head agrees");
        let public = hex::encode(world.app.keys.all()[0].public());
        assert_eq!(verdict.signed_by, std::slice::from_ref(&public));
        assert_eq!(database(&world, &outside).await, [""; 0]);
        // An older head agrees with a longer log.
        make_changes(&world, 3).await;
        assert_eq!(verified(&exported(&world).await, &outside).findings, [""; 0]);
        let text = lines.join("\n") + "\n";
        let verdict = verify_export(&mut text.as_bytes(), &outside, &["1".repeat(64), public.clone()]).expect("an export");
        assert_eq!(verdict.findings, [""; 0]);
        let verdict = verify_export(&mut text.as_bytes(), &outside, &["0".repeat(64)]).expect("an export");
        assert!(verdict.findings[0].contains("signed by another key"), "{verdict:?}");
    }

    async fn an_edit_a_deletion_and_another_order_are_found_in_an_export(db: Db) {
        let world = World::start(db).await;
        make_changes(&world, 6).await;
        let whole = exported(&world).await;
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = whole.clone();
            change(&mut lines);
            lines
        };
        let last = whole.len() - 1;
        // Every single letter of an entry.
        let line = whole[last - 2].clone();
        for place in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            let Ok(text) = String::from_utf8(bytes) else { continue };
            found(&changed(&|lines| lines[last - 2].clone_from(&text)), &[]);
        }
        // Every single letter of the head, but those of the key's label, which is not signed.
        let head = whole[last].clone();
        let label = head.find(r#""key":""#).expect("a label") + 7;
        for place in (0..head.len()).filter(|place| !(label..label + 8).contains(place)) {
            let mut bytes = head.clone().into_bytes();
            bytes[place] = if bytes[place].is_ascii_lowercase() { bytes[place].to_ascii_uppercase() } else { b'7' };
            let Ok(text) = String::from_utf8(bytes) else { continue };
            if text != head {
                found(&changed(&|lines| lines[last].clone_from(&text)), &[]);
            }
        }
        for (from, to) in [(r#""organization":""#, r#""organization":"+"#), (r#""key":""#, r#""key":"a"#)] {
            found(&changed(&|lines| lines[last] = head.replace(from, to)), &[]);
            let first = (whole[0].replace(from, to) + "\n").into_bytes();
            assert!(from.contains("key") || verify_export(&mut &first[..], &[], &[]).is_err());
        }
        for entry in 1..last {
            let deleted = found(&changed(&|lines| drop(lines.remove(entry))), &[]);
            assert!(entry + 1 == last || deleted.contains(&format!("entries {entry} to {entry} are missing")), "{deleted}");
            found(&changed(&|lines| lines.insert(entry, lines[entry].clone())), &[]);
        }
        for entry in 1..last - 1 {
            let swapped = found(&changed(&|lines| lines.swap(entry, entry + 1)), &[]);
            assert!(swapped.contains("order") || swapped.contains("missing"), "{swapped}");
        }
        let emptied = changed(&|lines| {
            let mut line: Value = serde_json::from_str(&lines[3]).expect("JSON");
            line["entry"] = Value::Null;
            lines[3] = line.to_string();
        });
        assert!(found(&emptied, &[]).contains("entry 3 was deleted"));
        // A reader that takes the first of two equal keys would see something else than one that takes the last.
        let twice = changed(&|lines| lines[3] = lines[3].replacen("\"verb\":", "\"verb\":\"nothing\",\"verb\":", 1));
        assert!(found(&twice, &[]).contains("neither an entry nor a head"));
        assert!(found(&changed(&|lines| drop(lines.pop())), &[]).contains("cut off"));
        let (other, _) = organization(&world.app, "Other", "other.example").await;
        found(&changed(&|lines| lines[0] = lines[0].replace(&world.zoid.to_string(), &other.to_string())), &[]);
    }

    async fn a_cut_off_or_rewritten_end_is_found_with_a_head_from_outside(db: Db) {
        let world = World::start(db).await;
        make_changes(&world, 4).await;
        let whole = exported(&world).await;
        let outside = heads(&world.app, None).await.expect("heads");
        let text = outside.iter().map(|head| head.line().expect("a line")).collect::<Vec<_>>().join("\n");
        assert_eq!(read_heads(&text).expect("heads"), outside);
        // Somebody with the server's key takes the last two entries away and signs what is left.
        let last = sealed(&world.app.db, world.zoid).await;
        tampered(&world, [
            "DELETE FROM audit_link WHERE number > (SELECT MAX(number) - 2 FROM audit_link)",
            "DELETE FROM audit WHERE NOT EXISTS (SELECT 1 FROM audit_link l WHERE l.change_id = audit.id AND l.step = audit.step)",
        ])
        .await;
        assert_eq!(sealed(&world.app.db, world.zoid).await, last - 2);
        let short = exported(&world).await;
        assert_eq!(verified(&short, &[]).findings, [""; 0], "nothing inside can tell");
        let told = found(&short, &outside);
        assert!(told.contains("cut off") && told.contains(&format!("of {last} entries, and there are {}", last - 2)), "{told}");
        assert!(database(&world, &outside).await.concat().contains("cut off"));
        // Other entries in their place do not help.
        make_changes(&world, 4).await;
        let told = found(&exported(&world).await, &outside);
        assert!(told.contains(&format!("entries up to {last} were replaced")), "{told}");
        assert!(database(&world, &outside).await.concat().contains("replaced"));
        assert_eq!(verified(&whole, &outside).findings, [""; 0]);
        // A head itself cannot be changed.
        let mut forged = outside[0].clone();
        forged.number -= 2;
        let told = found(&whole, &[forged]);
        assert!(told.contains("signature is wrong"), "{told}");
    }

    async fn an_edit_a_deletion_and_another_order_are_found_in_the_database(db: Db) {
        let world = World::start(db).await;
        make_changes(&world, 4).await;
        seal_all(&world).await;
        assert_eq!(database(&world, &[]).await, [""; 0]);
        for (tampering, sign) in [
            ("UPDATE audit SET actor = 'user 1000000000007' WHERE entry LIKE '%Mia the 3%'", "columns beside it"),
            ("UPDATE audit SET entry = REPLACE(entry, 'Mia the 1', 'Mia the 7') WHERE entry LIKE '%Mia the 1%'", "is not the one that was sealed"),
            ("UPDATE audit SET person_id = 1000000000001 WHERE entry LIKE '%Mia the 2%'", "columns beside it"),
            ("UPDATE audit SET at = at + 1 WHERE entry LIKE '%Mia the 0%' AND entry NOT LIKE '%Mia the 1%'", "columns beside it"),
        ] {
            let before = database(&world, &[]).await.len();
            tampered(&world, [tampering]).await;
            let after = database(&world, &[]).await;
            assert!(after.len() > before && after.concat().contains(sign), "{tampering}: {after:?}");
        }
    }

    async fn places_that_were_swapped_and_entries_that_are_gone_are_found_in_the_database(db: Db) {
        let world = World::start(db).await;
        make_changes(&world, 4).await;
        seal_all(&world).await;
        let zoid = world.zoid.get();
        let swap = async move |tx: &mut Tx| {
            for (from, to) in [(3, -1), (4, 3), (-1, 4)] {
                let sql = "UPDATE audit_link SET number = $3 WHERE organization_id = $1 AND number = $2";
                tx.execute(sql, params![zoid, i64::from(from), i64::from(to)]).await?;
            }
            Ok(())
        };
        world.app.db.write(swap).await.expect("swapped");
        assert!(database(&world, &[]).await.concat().contains("is not the one that was sealed"));
        world.app.db.write(swap).await.expect("swapped back");
        assert_eq!(database(&world, &[]).await, [""; 0]);
        let delete = async move |tx: &mut Tx| {
            let sql = "DELETE FROM audit WHERE organization_id = $1 AND entry LIKE '%to\":\"Mia the 2%'";
            tx.execute(sql, params![zoid]).await
        };
        assert_eq!(world.app.db.write(delete).await.expect("deleted"), 1);
        assert!(database(&world, &[]).await.concat().contains("was deleted"));
    }

    async fn a_log_of_which_nothing_is_left_is_missed(db: Db) {
        let world = World::start(db).await;
        seal_all(&world).await;
        let outside = heads(&world.app, None).await.expect("heads");
        let elsewhere = OrganizationId::new(10_000_777).expect("a zoid");
        let mut foreign = outside[0].clone();
        foreign.organization = elsewhere.to_string();
        let verdicts = verify_database(&world.app, None, &[foreign], &[]).await.expect("verdicts");
        assert!(verdicts.iter().any(|verdict| verdict.organization == elsewhere && !verdict.findings.is_empty()));
    }

    async fn many_sealers_make_one_chain(db: Db) {
        let world = World::start(db).await;
        let sealers: Vec<_> = (0..4)
            .map(|number| {
                let app = world.app.clone();
                tokio::spawn(async move {
                    for _ in 0..40 {
                        // As if the others had died: everybody tries for the work at once.
                        app.clock.advance(11 * SECOND);
                        seal::seal_due(&app, &format!("sealer {number}")).await.expect("sealing");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        let makers: Vec<_> = (0..4)
            .map(|number| {
                let (app, zoid) = (world.app.clone(), world.zoid);
                tokio::spawn(async move {
                    for step in 0..50 {
                        write_entry(&app, zoid, number * 1000 + step).await;
                    }
                })
            })
            .collect();
        for task in sealers.into_iter().chain(makers) {
            task.await.expect("no panic");
        }
        world.app.clock.advance(11 * SECOND);
        seal_all(&world).await;
        assert_eq!(database(&world, &[]).await, [""; 0]);
        assert!(sealed(&world.app.db, world.zoid).await > 200);
    }

    async fn another_worker_takes_over_when_one_dies(db: Db) {
        let world = World::start(db).await;
        let app = &world.app;
        seal_until(&world, "one", total(&world).await).await;
        make_changes(&world, 2).await;
        assert_eq!(seal::seal_due(app, "two").await.expect("an answer"), 0, "the work is another's");
        app.clock.advance(11 * SECOND);
        seal_until(&world, "two", total(&world).await).await;
        make_changes(&world, 1).await;
        assert_eq!(seal::seal_due(app, "one").await.expect("an answer"), 0);
        seal::give_back(app, "two").await.expect("given back");
        seal_until(&world, "one", total(&world).await).await;
    }

    async fn people_see_what_was_done_to_their_account_and_nobody_elses(db: Db) {
        let world = World::start(db).await;
        let (mia, otto) = (&world.member, &world.other);
        world.mode(&world.admin, mia, "updateIMAPStatus", json!({"imapAccess": false})).await;
        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let headers = [("authorization", token.as_str()), ("x-mailward-reason", "ticket 4711"), ("content-type", "application/json")];
        let body = json!({"mode": "disableMailAccount", "zuid": mia.zuid}).to_string();
        world.send("PUT", &world.path(mia), &headers, body).await.ok();
        make_changes(&world, 1).await;
        world.mode(&world.admin, otto, "updateOutgoingStatus", json!({"outgoingBlocked": true})).await;
        let path = format!("/api/accounts/{}/history", mia.account_id);
        let answer = world.get(&mia.user_token, &path).await;
        let seen = answer.ok().json()["data"].as_array().expect("entries").clone();
        let verbs: Vec<_> = seen.iter().map(|entry| entry["verb"].as_str().expect("a verb")).collect();
        assert!(verbs.contains(&"disableMailAccount") && verbs.contains(&"createUser"), "{verbs:?}");
        for entry in &seen {
            assert_eq!(entry["target"]["zuid"], mia.zuid.to_string());
            let own = entry["actor"]["zuid"].as_str() == Some(mia.zuid.to_string().as_str());
            assert_eq!(entry["request"].is_string(), own, "{entry}");
        }
        let disabled = seen.iter().find(|entry| entry["verb"] == "disableMailAccount").expect("the entry");
        assert_eq!(disabled["reason"], "ticket 4711");
        let page = world.get(&mia.user_token, &format!("{path}?start=1&limit=1")).await;
        assert_eq!(page.json()["data"], json!([seen[1]]));
        world.get(&mia.user_token, &format!("/api/accounts/{}/history", otto.account_id)).await.refused(404, "RESOURCE_NOT_FOUND");
        assert_eq!(world.get(&mia.org_token, &path).await.status, 401, "not with the scope of an administrator");
    }
}

/// Entries of the organization, sealed or not.
async fn total(world: &World) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    store::audit_chain::counts(&mut tx, world.zoid).await.expect("counts").0
}

/// Waits until so many entries are sealed; how long that took.
async fn seal_of(world: &World, many: i64) -> Duration {
    let start = Instant::now();
    while sealed(&world.app.db, world.zoid).await < many {
        assert!(start.elapsed() < Duration::from_secs(60), "not sealed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

/// An entry as changes write them, in a transaction of its own.
async fn write_entry(app: &App, zoid: OrganizationId, number: i64) {
    let row = AuditRow {
        organization: zoid,
        id: ChangeId::new(290_000_000_000_000_000 + number).expect("a changeId"),
        step: 0,
        at: START,
        actor: "clock".to_owned(),
        verb: "count".to_owned(),
        person: None,
        entry: json!({"actor": {"kind": "clock"}, "at": START, "change": (290_000_000_000_000_000 + number).to_string(), "step": 0, "v": 1, "verb": "count"}).to_string(),
    };
    app.db.write(async move |tx| store::audit::insert(tx, &row)).await.expect("an entry");
}

/// On a server of its own: what other tests keep open would be waited for.
async fn seals_within_a_second(test: TestDb) {
    let mut settings = config();
    let file = test.folder.join("heads.jsonl");
    settings.audit.heads_file = Some(file.clone());
    let world = World::start_with(test.db.clone(), settings).await;
    let worker = tokio::spawn(worker::run(world.app.clone()));
    seal_of(&world, total(&world).await).await;
    for _ in 0..3 {
        make_changes(&world, 1).await;
        let written = total(&world).await;
        let waited = seal_of(&world, written).await;
        // A second on a machine that does nothing else.
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }
    let mut written = BTreeMap::new();
    head::write_moved(&world.app, &mut written).await.expect("written");
    head::write_moved(&world.app, &mut written).await.expect("nothing new");
    worker.abort();
    let outside = read_heads(&std::fs::read_to_string(&file).expect("the file")).expect("heads");
    assert_eq!(outside.last().expect("a head").number, sealed(&test.db, world.zoid).await);
    assert_eq!(database(&world, &outside).await, [""; 0]);
    drop(test);
}

#[test]
fn the_running_service_seals_within_a_second_and_writes_heads_out_on_sqlite() {
    on_sqlite(store::migrations::STEPS, seals_within_a_second);
}

#[test]
fn the_running_service_seals_within_a_second_and_writes_heads_out_on_postgres() {
    on_a_server_of_its_own(5441, seals_within_a_second);
}

fn on_a_server_of_its_own(port: u16, body: impl AsyncFnOnce(TestDb)) {
    let server = Server::start(port, |_| Vec::new());
    let database = empty_on(&server, "alone");
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let db = Db::open(&database.url, &options()).expect("the URL is good");
        migrate(&db, store::migrations::STEPS, 0).await.expect("the migrations run");
        body(TestDb { db, url: database.url.clone(), folder: folder.path().to_owned() }).await;
    });
}

/// Lower numbers commit later than higher ones: a worker that only looked at what it sees would seal
/// past the open transaction, and never come back.
#[test]
fn what_a_transaction_wrote_that_was_open_for_five_seconds_is_not_passed_over() {
    on_a_server_of_its_own(5442, async |test| {
        let world = World::start(test.clone()).await;
        seal_all(&world).await;
        let before = sealed(&test.db, world.zoid).await;
        let (mut slow, connection) =
            tokio_postgres::connect(&test.url, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let open = slow.transaction().await.expect("a transaction");
        let (zoid, change) = (world.zoid.get(), 290_000_000_000_999_999_i64);
        let entry =
            json!({"actor": {"kind": "clock"}, "at": START, "change": change.to_string(), "step": 0, "v": 1, "verb": "slow"}).to_string();
        open.execute(
            "INSERT INTO audit (organization_id, id, step, at, actor, verb, entry) VALUES ($1, $2, 0, $3, 'clock', 'slow', $4)",
            &[&zoid, &change, &START, &entry],
        )
        .await
        .expect("an entry");
        open.execute(
            "INSERT INTO audit_link (organization_id, change_id, step) VALUES ($1, $2, 0)",
            &[&zoid, &change],
        )
        .await
        .expect("its place");
        let worker = tokio::spawn(worker::run(world.app.clone()));
        let start = Instant::now();
        let makers: Vec<_> = (0..8)
            .map(|number| {
                let (app, zoid) = (world.app.clone(), world.zoid);
                tokio::spawn(async move {
                    for step in 0..125 {
                        write_entry(&app, zoid, number * 1000 + step).await;
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.expect("no panic");
        }
        tokio::time::sleep(Duration::from_secs(5).saturating_sub(start.elapsed())).await;
        assert_eq!(sealed(&test.db, world.zoid).await, before, "whatever came after it waits for its end");
        open.commit().await.expect("committed");
        seal_of(&world, before + 1001).await;
        worker.abort();
        assert_eq!(database(&world, &[]).await, [""; 0]);
        let lines = exported(&world).await;
        assert!(
            lines[usize::try_from(before).expect("few") + 1].contains("\"slow\""),
            "it was written first"
        );
        let seen: std::collections::BTreeSet<_> = lines
            .iter()
            .filter_map(|line| {
                Some(serde_json::from_str::<Value>(line).ok()?["entry"]["change"].as_str()?.to_owned())
            })
            .collect();
        let missing: Vec<_> = (0..8)
            .flat_map(|maker| (0..125).map(move |step| 290_000_000_000_000_000_i64 + maker * 1000 + step))
            .chain([change])
            .filter(|number| !seen.contains(&number.to_string()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    });
}

#[test]
fn an_export_is_verified_by_the_program_alone() {
    let place = Place::initialised();
    place.run(&["user", "add", "mia@example.org"]).good();
    let heads = place.run(&["audit", "head"]).good().out;
    place.write("heads.jsonl", &heads);
    place.run(&["user", "disable", "mia@example.org"]).good();
    place.run(&["audit", "export", "audit.jsonl"]).good();
    place.run(&["audit", "export", "audit.jsonl"]).refused(3);
    assert_eq!(place.run(&["audit", "export"]).good().out.lines().count(), {
        std::fs::read_to_string(place.path("audit.jsonl")).expect("text").lines().count()
    });
    let said = place.run(&["audit", "verify", "--head", "heads.jsonl"]).good();
    assert!(said.out.contains("1 heads agree") && said.out.contains("nothing was changed"), "{}", said.out);
    let key = place.json(&["keys", "show"])["keys"][0]["public"].as_str().expect("a key").to_owned();
    // Elsewhere: no configuration, no database, no keys.
    let elsewhere = Place::empty();
    for name in ["audit.jsonl", "heads.jsonl"] {
        std::fs::copy(place.path(name), elsewhere.path(name)).expect("a copy");
    }
    let verify = ["audit", "verify", "audit.jsonl", "--head", "heads.jsonl", "--key", &key];
    elsewhere.run(&verify).good();
    let text = std::fs::read_to_string(elsewhere.path("audit.jsonl")).expect("text");
    elsewhere.write("audit.jsonl", &text.replacen("mia@example.org", "max@example.org", 1));
    let said = elsewhere.run(&verify);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("is not the one that was sealed"), "{}", said.out);
    let json = elsewhere.run(&[&verify[..], &["--json"]].concat());
    assert_eq!((json.code, json.json()["whole"].clone()), (1, json!(false)));
    elsewhere.write("audit.jsonl", "nothing\n");
    elsewhere.run(&verify).refused(2);
}
