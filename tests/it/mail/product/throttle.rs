//! Real logins feed the one throttle, and none waits for a Mailward that is away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{MailWorld, WRONG, both_contracts, told};
use crate::mail::clients::Imap;
use crate::support::world::PASSWORD;

const NEW: &str = "another-secret-9";

/// What the three logins answer, once they do: on a busy machine a login goes on before we have looked.
fn refused(mail: &MailWorld, address: &str, said: &str) -> [String; 3] {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answers = mail.logins(address, PASSWORD);
        if answers == told(said) || Instant::now() > until {
            return answers;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

both_contracts! {
    fn wrong_passwords_in_mail_programs_close_every_path_and_no_old_telephone_does(mail: MailWorld) {
        let (pat, ann) = (mail.someone("pat"), mail.someone("ann"));
        assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);
        let start = Instant::now();
        for _ in 0..20 {
            let _session = mail.imap(&pat.email, PASSWORD);
        }
        println!("a login takes {:?} with the throttle", start.elapsed() / 20);
        // A telephone that still has the old password, in all protocols, often.
        for _ in 0..6 {
            assert_eq!(mail.logins(&pat.email, "the old password"), WRONG);
        }
        assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3], "it has guessed nothing");
        // A disabled account with its right password guesses nothing either.
        mail.mode(&ann, "disableUser", json!({}));
        for _ in 0..5 {
            assert_eq!(mail.opens(&ann.email, PASSWORD), [false; 3]);
        }
        mail.mode(&ann, "enableUser", json!({}));
        assert_eq!(mail.opens(&ann.email, PASSWORD), [true; 3]);
        // Somebody who guesses.
        for number in 0..5 {
            mail.logins(&pat.email, &format!("guess {number} and"));
            mail.logins(&pat.email, &format!("guess {number} or"));
        }
        let said = "Too many wrong passwords. Try again in 15 minutes.";
        assert_eq!(refused(&mail, &pat.email, said), told(said), "every protocol says when");
        let there = mail.block(mail.world().self_password(&pat.email, PASSWORD, NEW));
        assert_eq!(there.status.as_u16(), 429, "{}", there.text);
        assert_eq!(mail.opens(&ann.email, PASSWORD), [true; 3], "nobody else is concerned");
        // An administrator lets the person in again.
        let world = mail.world();
        let path = format!("{}/throttle", world.path(&pat));
        let cleared = mail.patiently(|| mail.block(world.with_body("DELETE", &world.owner.org_token, &path, json!({}))));
        assert_eq!(cleared.status.as_u16(), 200, "{}", cleared.text);
        assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);
        // Tries at the other paths close mail, too.
        for number in 0..10 {
            mail.block(world.self_password(&pat.email, &format!("wrong-word-{number}"), NEW));
        }
        assert_eq!(refused(&mail, &pat.email, said), told(said));
    }

    fn logins_go_on_while_mailward_is_away(mail: MailWorld) {
        let pat = mail.someone("pat");
        assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);
        mail.stop();
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            let start = Instant::now();
            let _session = Imap::open(mail.lab.imap, &pat.email, PASSWORD);
            slowest = slowest.max(start.elapsed());
        }
        println!("the slowest login while Mailward is away took {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);
        assert_eq!(mail.opens(&pat.email, "wrong"), [false; 3]);
    }
}
