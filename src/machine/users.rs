//! The users and groups that this machine itself knows, from passwd(5) and group(5). Those of a directory
//! service are not among them.

use std::fs;

/// A copy of both files, as they were when it was made.
#[derive(Debug, Clone, Default)]
pub struct Users {
    passwd: String,
    group: String,
}

impl Users {
    /// Those of this machine; a file that cannot be read has nobody.
    pub fn read() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Self::from_files(read("/etc/passwd"), read("/etc/group"))
    }

    /// Those that the texts of both files name.
    pub fn from_files(passwd: impl Into<String>, group: impl Into<String>) -> Self {
        Self { passwd: passwd.into(), group: group.into() }
    }

    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.users().find(|user| user.uid == uid).map(|user| user.name)
    }

    /// A user's number, and that of the first group.
    pub fn ids_of(&self, name: &str) -> Option<(u32, u32)> {
        self.users().find(|user| user.name == name).map(|user| (user.uid, user.gid))
    }

    pub fn gid_of(&self, group: &str) -> Option<u32> {
        fields(&self.group).find(|line| line[0] == group)?.get(2)?.parse().ok()
    }

    /// Everybody in the group, by its own line or as their first one.
    pub fn members_of(&self, group: &str) -> Vec<&str> {
        let listed = fields(&self.group).find(|line| line[0] == group);
        let listed = listed.and_then(|line| line.get(3).copied()).unwrap_or_default();
        let mut all: Vec<&str> = listed.split(',').filter(|name| !name.is_empty()).collect();
        let gid = self.gid_of(group);
        for user in self.users().filter(|user| Some(user.gid) == gid) {
            if !all.contains(&user.name) {
                all.push(user.name);
            }
        }
        all
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        fields(&self.passwd).filter_map(|line| {
            let number = |place: usize| line.get(place)?.parse().ok();
            Some(User { name: line[0], uid: number(2)?, gid: number(3)? })
        })
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// The fields of each line; there is a first one in every line.
fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::from_files(
            "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:50::/home/anna:/bin/sh\nberta:x:1001:1001::/:/bin/sh\n",
            "root:x:0:\nmail:x:50:berta,carl\nempty:x:51:\n",
        )
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let users = users();
        assert_eq!(users.name_of(1000), Some("anna"));
        assert_eq!(users.name_of(50), None, "a group is no user");
        assert_eq!(users.ids_of("anna"), Some((1000, 50)));
        assert_eq!(users.ids_of("broken"), None);
        assert_eq!(users.gid_of("mail"), Some(50));
        assert_eq!(users.gid_of("anna"), None, "a user is no group");
    }

    #[test]
    fn members_are_those_listed_and_those_whose_first_group_it_is() {
        let users = users();
        assert_eq!(users.members_of("mail"), ["berta", "carl", "anna"]);
        assert!(users.members_of("empty").is_empty() && users.members_of("nothing").is_empty());
    }
}
