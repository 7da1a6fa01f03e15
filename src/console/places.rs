//! From where somebody signed in, in words: of the own account, and of one that was taken back.

use crate::app::web_sessions::Place;
use crate::clock::Millis;
use crate::console::texts::ENGLISH;
use crate::console::times::Time;

pub struct Line {
    pub what: String,
    pub from: String,
    pub first: Time,
    pub last: Time,
}

pub fn lines(places: &[Place], now: Millis) -> Vec<Line> {
    places.iter().map(|place| line(place, now)).collect()
}

fn line(place: &Place, now: Millis) -> Line {
    let t = &ENGLISH;
    Line {
        what: match place.door.as_str() {
            "console" => t.door_console.to_owned(),
            "web" => t.door_password.to_owned(),
            "mail" => t.door_mail.to_owned(),
            protocol => protocol.to_uppercase(),
        },
        from: if place.source.is_empty() { t.unknown_place.to_owned() } else { place.source.clone() },
        first: Time::new(place.first_at, now),
        last: Time::new(place.last_at, now),
    }
}
