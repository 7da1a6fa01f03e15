//! A time in which nothing is changed: nobody with a mail client notices.

use mailward::app::read_only;
use mailward::clock::Clock;
use serde_json::json;

use super::{MAIL_DISABLED, MailWorld, SOON, both_contracts, open_account, shut, told};
use crate::support::world::{PASSWORD, operator};

both_contracts! {
    fn while_changes_are_refused_logins_sending_and_deliveries_go_on(world: MailWorld) {
        let ann = world.someone("ann");
        let shut_out = world.someone("shut");
        world.mode(&shut_out, "disableMailAccount", json!({}));
        let db = &world.world().app.db;
        let (_, by_us) = world.block(read_only::on(db, &operator(), Clock::System.now())).expect("on");
        assert!(by_us);
        assert_eq!(world.look(&ann.email, PASSWORD), open_account());
        assert_eq!(world.look(&shut_out.email, PASSWORD), shut(told(MAIL_DISABLED)));
        let refused = world.block(world.world().mode(&world.world().owner, &ann, "disableMailAccount", json!({})));
        refused.refused(503, "SERVICE_UNAVAILABLE");
        assert_eq!(world.look(&ann.email, PASSWORD), open_account(), "what was refused has no effect");

        world.block(read_only::off(db, &operator(), Clock::System.now())).expect("off");
        let done = world.mode(&ann, "disableMailAccount", json!({}));
        assert_eq!(world.look(&ann.email, PASSWORD), shut(told(MAIL_DISABLED)));
        // The worker goes on where it had to wait.
        world.complete(&done.change().expect("a change"), SOON * 6);
    }
}
