//! Every text that people read in the console, in one place, for proofreaders and translators.
//! `{}` stands for what is filled in, in order (`fill`). Templates name them as `t.sign_in`.

use std::fmt::Display;

macro_rules! texts {
    ($($name:ident = $text:literal;)*) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub struct Texts {
            $(pub $name: &'static str,)*
        }

        pub static ENGLISH: Texts = Texts { $($name: $text,)* };
    };
}

/// Puts the values where the text has `{}`.
pub fn fill(text: &str, values: &[&dyn Display]) -> String {
    let mut parts = text.split("{}");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    let mut values = values.iter();
    for part in parts {
        if let Some(value) = values.next() {
            filled += &value.to_string();
        }
        filled += part;
    }
    filled
}

/// The same with one value, as templates call it.
pub fn with(text: &str, value: impl Display) -> String {
    fill(text, &[&value])
}

/// A number with its noun: `count(2, t.one_session, t.sessions)` is "2 sessions".
pub fn count(number: i64, one: &str, many: &str) -> String {
    fill(if number == 1 { one } else { many }, &[&number])
}

texts! {
    // The frame.
    product = "Mailward";
    skip_to_content = "Skip to the content";
    navigation = "Main navigation";
    users = "Users";
    domains = "Domains";
    mail_servers = "Mail servers";
    applications = "Applications";
    audit = "Audit";
    my_account = "My account";
    sign_out = "Sign out";

    // Signing in.
    sign_in = "Sign in";
    sign_in_hint = "With any address of your mailbox.";
    address = "E-mail address";
    password = "Password";
    wrong_credentials = "The address or the password is wrong. After several wrong tries even the right one is refused for a while.";
    sign_in_again = "You are signed out. Sign in again.";
    you_are_signed_out = "You are signed out.";
    password_missing = "Type a password.";

    // Choosing a new password.
    choose_password = "Choose a new password";
    choose_password_hint = "You signed in with a one-time password. It ends now: choose the password that you will use from here on, in your mail program too.";
    new_password = "New password";
    new_password_again = "New password again";
    password_rule = "At least {} characters. No common password, and nothing of your name or address in it.";
    save_password = "Save the new password";
    passwords_differ = "the two new passwords differ; type the same one twice";

    // A fresh proof.
    prove = "Is it still you?";
    prove_hint = "You signed in a while ago. Type your password again before you go on.";
    go_on = "Go on";

    // Finding users.
    add_user = "Add a user";
    import_users = "Import a list";
    search_users = "Find somebody";
    search_hint = "Any part of a name or an address; three letters are enough.";
    one_user_in_all = "{} user in all.";
    users_in_all = "{} users in all.";
    show_users = "Show";
    search = "Search";
    filter_everybody = "everybody";
    filter_disabled = "who is disabled";
    filter_blocked = "whose mail is blocked";
    filter_one_time = "with a one-time password";
    filter_never = "who never signed in here";
    term_too_short = "Type one letter more to search.";
    nobody_found = "Nobody is found. Try fewer letters, or another part of the name or address.";
    none_on_this_page = "Nobody among those looked through so far. Go on to the next page.";
    no_more_users = "There is nobody after this.";
    no_users = "There are no users yet. Add the first one.";
    name = "Name";
    how_it_stands = "State";
    last_sign_in = "Last sign-in";
    never = "never";
    first_page = "To the first page";
    next_page = "Next page";
    user_is_deleted = "The user is deleted. The mail stays on the servers for a term, and the addresses are kept.";
    sign_good = "Works";
    sign_disabled = "Disabled";
    sign_mail_disabled = "Mail disabled";
    sign_incoming = "Incoming blocked";
    sign_outgoing = "Sending blocked";
    sign_imap = "IMAP off";
    sign_pop = "POP off";
    sign_one_time = "One-time password";
    sign_one_time_over = "One-time password over";
    role_help_desk = "help desk";
    role_admin = "administrator";
    role_super_admin = "super administrator";
    role_everywhere = "{}: {}";
    role_on_domains = "{}: {}, on {}";
    desk_looks = "look at people";
    desk_resets = "reset passwords";
    desk_switches = "enable, disable and block";
    desk_renames = "change names and addresses";

    // One user.
    no_such_user = "there is no such user here";
    state_disabled = "Cannot sign in: disabled {}.";
    state_signs_in = "Signs in normally.";
    state_no_password = "Cannot sign in: there is no password. Reset it.";
    state_one_time = "One-time password waiting since {}.";
    state_one_time_until = "One-time password waiting, set {}; it ends {} ({}).";
    state_one_time_over = "The one-time password was not used in time. Reset it again.";
    state_mail_disabled = "Mail programs are refused: mail disabled {}.";
    state_mail_arrives = "Mail arrives.";
    state_incoming = "Incoming mail is refused: blocked {}.";
    state_outgoing = "Sending is blocked {}.";
    state_imap = "IMAP is off: switched off {}.";
    state_pop = "POP is off: switched off {}.";
    by_at = "by {}, {}";
    somebody_gone = "somebody ({})";
    the_clock = "Mailward, because a term ended";
    back_to_users = "All users";
    card_sign_in = "Sign-in and password";
    card_mailbox = "Mailbox";
    card_addresses = "Name and addresses";
    card_sessions = "Sessions and applications";
    password_set = "Password set";
    factor_of_user = "Second factor";
    factor_in_use = "in use";
    role = "Role";
    role_member = "member";
    created = "Added";
    expires = "Ends";
    mail_programs = "Mail programs";
    incoming_mail = "Incoming mail";
    outgoing_mail = "Outgoing mail";
    imap = "IMAP";
    pop = "POP";
    allowed = "allowed";
    refused = "refused";
    accepted = "accepted";
    blocked = "blocked";
    on = "on";
    off = "off";
    display_name = "Display name";
    main_address = "Main address";
    other_addresses = "Other addresses";
    none = "none";
    browsers = "Signed-in browsers";
    app_passwords = "App passwords";
    ids = "Details";
    zuid = "zuid";
    account_id = "accountId";
    mailbox_name = "Mailbox on the servers";
    history = "History";
    no_history = "Nothing has happened to this account yet.";
    when = "When";
    who = "Who";
    what = "What";
    why = "Why";
    details = "Details";
    refused_entry = "Refused:";
    never_stored = "Not done: the connection to the database was lost before it was stored.";
    times_in_a_minute = "{} times in this minute";
    just_now = "just now";
    in_a_moment = "in a moment";
    ago = "{} ago";
    ahead = "in {}";
    one_minute = "{} minute";
    minutes = "{} minutes";
    one_hour = "{} hour";
    hours = "{} hours";
    one_day = "{} day";
    days = "{} days";

    // What was done, as the history tells it.
    did_reset_password = "Password reset";
    did_change_own_password = "Password chosen";
    did_rename = "Main address changed";
    did_display_name = "Display name changed";
    did_enable_user = "User enabled";
    did_disable_user = "User disabled";
    did_enable_mail = "Mail enabled";
    did_disable_mail = "Mail disabled";
    did_incoming = "Incoming mail switched";
    did_outgoing = "Sending switched";
    did_imap = "IMAP switched";
    did_pop = "POP switched";
    did_add_alias = "Address added";
    did_remove_alias = "Address removed";
    did_personal_info = "Personal data changed";
    did_change_role = "Role changed";
    did_create = "User added";
    did_delete = "User deleted";
    did_app_password = "App password made";
    did_revoke_app_password = "App password revoked";
    did_add_domain = "Domain added";
    did_verify_domain = "Domain verified";
    did_primary_domain = "Primary domain chosen";
    did_disable_domain = "Domain switched off";
    did_enable_domain = "Domain switched on";
    did_create_client = "Application added";
    did_disable_client = "Application switched off";
    did_enable_client = "Application switched on";
    did_delete_client = "Application deleted";
    did_make_code = "Code made";
    did_issue_token = "Token made by the operator";
    did_revoke_token = "Token revoked";
    did_update_organization = "Organization changed";
    did_create_organization = "Organization made";
    did_recover = "Super administrator recovered";
    did_secure = "Account taken back";
    did_authorize = "Application allowed";
    did_expire_password = "One-time password expired";
    did_clear_throttle = "Wrong tries forgotten";
    did_forget_mailbox = "Kept mailbox forgotten";
    did_read_only_on = "Changes stopped everywhere";
    did_read_only_off = "Changes taken again";
    did_rotate_keys = "Key file rotated";
    did_add_mail_server = "Mail server added";
    did_remove_mail_server = "Mail server removed";
    did_add_mail_agent = "Agent of a mail host added";
    did_rotate_agent_key = "Agent of a mail host given a new key";
    did_remove_mail_agent = "Agent of a mail host removed";
    did_forget_key = "Former key forgotten";
    did_start_keys_anew = "Key file lost and replaced";
    did_copy = "Copied from another database";
    did_restore = "Restored from a backup";
    // An application asks for access.
    consent = "Allow {} to use your account?";
    consent_kept_by = "{} asks for this. The application is kept by {}.";
    consent_nobody = "{} asks for this.";
    consent_scopes = "It would be allowed to:";
    consent_offline = "It keeps this access until you take it back, also while you are not here.";
    consent_online = "The access ends by itself after {} minutes, until you use the application again.";
    consent_reaches_others = "You are an administrator: this reaches other people's accounts.";
    consent_goes_to = "Either answer sends you back to {}.";
    consent_account = "You are signed in as {}.";
    consent_other_account = "Use another account";
    consent_allow = "Allow";
    consent_deny = "Do not allow";
    consent_problem = "This application cannot be let in";
    consent_unknown_client = "No application with that client_id is known here, or it is switched off. Tell whoever runs the application.";
    consent_wrong_redirect = "The application wants your answer sent to an address that was not registered for it. Nothing was sent there. Tell whoever runs the application.";
    scope_all = "see and change {}";
    scope_read = "see {}";
    scope_create = "add to {}";
    scope_update = "change {}";
    scope_delete = "delete from {}";
    scope_users = "the users of your organization and their accounts";
    scope_domains = "the domains of your organization";
    scope_groups = "the groups of your organization";
    scope_audit = "what was done in your organization";
    scope_organization = "the details of your organization";
    scope_account = "your own account: addresses, name, switches, app passwords";
    scope_profile = "your name and address";
    scope_not_here = "use {}, which this server does not offer";

    // What can be done to a user.
    do_reset_password = "Reset the password";
    do_secure = "Take the account back";
    do_remove_factors = "Remove second factors";
    do_disable_user = "Disable the user";
    do_enable_user = "Enable the user";
    do_change_role = "Change the role";
    do_change_term = "Change when it ends";
    do_delete = "Delete the user";
    do_disable_mail = "Disable mail";
    do_enable_mail = "Enable mail";
    do_block_incoming = "Block incoming mail";
    do_accept_incoming = "Accept incoming mail again";
    do_block_sending = "Block sending";
    do_allow_sending = "Allow sending again";
    do_imap_off = "Switch IMAP off";
    do_imap_on = "Switch IMAP on";
    do_pop_off = "Switch POP off";
    do_pop_on = "Switch POP on";
    do_change_address = "Change the main address";
    do_change_name = "Change the display name";
    do_add_address = "Add an address";
    do_remove_address = "Remove an address";
    means_reset_password = "A one-time password is made and shown to you once. With it the person chooses a new password; everything that is open with the old one ends.";
    means_remove_factors = "For somebody who has lost the telephone or the key. The authenticator app, the passkeys and the recovery codes are removed, and the password alone signs in until a new one is set up. The person is told. Make sure that it is the person who asks.";
    means_secure = "For an account that somebody else got into. Everything that opens it ends: the password, signed-in browsers, mail programs, app passwords, tokens of applications and the recovery address. Nothing can be sent from it until you allow it again. You are shown a one-time password for the person, and who was there lately.";
    means_disable_user = "No sign-in anywhere: not on the web, not with mail programs. Nothing is deleted, and mail keeps arriving unless you block it too.";
    means_enable_user = "The person can sign in and use mail again, with the same password as before.";
    means_change_role = "Administrators look after others; the help desk does chosen things to members.";
    means_change_term = "When the days are over, the person is shut out everywhere until an administrator enables the user again. Nothing is deleted. It lets nobody in who is shut out already.";
    term_hint = "Counted from now. Empty: it does not end.";
    means_delete = "The account goes, with everything that opens it. The mail stays on the servers for a term, and the addresses are kept so that nobody else gets them by accident.";
    means_disable_mail = "Mail programs are refused: no IMAP, no POP, no sending. The person can still sign in here, and mail keeps arriving.";
    means_enable_mail = "Mail programs work again.";
    means_block_incoming = "Senders are told that the mailbox takes no mail. Nothing is lost silently.";
    means_accept_incoming = "Mail to every address of the account is accepted again.";
    means_block_sending = "Nothing can be sent, also from mail programs that are open now.";
    means_allow_sending = "Sending works again.";
    means_protocol_off = "Mail programs that use it are refused, and those that are open end.";
    means_protocol_on = "Mail programs can use it again.";
    means_change_address = "Mail to the new address arrives in the same mailbox, and the person signs in with it. The old address stays with the account.";
    means_change_name = "What others see beside the address.";
    means_add_address = "Mail to it arrives in the same mailbox.";
    means_remove_address = "Mail to it is refused from now on. It is kept for this account for a term.";
    what_will_happen = "What exactly will happen?";
    what_happens = "If you go on:";
    show_first = "Show what will happen";
    prove_before = "You signed in a while ago. Show that it is still you before you do this.";
    prove_now = "Type your password";
    new_address = "New address";
    which_address = "Which address";
    field_missing = "fill in the field";
    help_desk_may = "What the help desk may do, besides looking";
    help_desk_reset = "Reset passwords";
    help_desk_switches = "Enable, disable and block";
    help_desk_rename = "Change names and addresses";
    help_desk_domains = "On these domains only (empty: on all)";
    keep_app_passwords = "Keep the app passwords";
    block_incoming_too = "Block incoming mail too";
    accept_incoming_too = "Accept incoming mail again too";
    release = "Release the address: why";
    release_hint = "It belongs to this account then, and is not kept for its former owner any more. What you write here stands in the history.";
    release_with_reason = "a reason";
    reason = "Reason";
    reason_hint = "For the history: who asked for it, or the number of the ticket.";
    nothing_to_do = "It was so already; nothing was changed.";
    will_change_nothing = "Nothing changes: it is so already.";
    will_end_session = "{} mail session ends now";
    will_end_sessions = "{} mail sessions end now";
    will_on_server = "{} on {}";
    will_unknown_on_server = "Mail sessions on {} end; how many are open it does not say at the moment";
    will_end_browser = "{} signed-in browser is signed out";
    will_end_browsers = "{} signed-in browsers are signed out";
    will_stop_app_password = "{} app password stops working";
    will_stop_app_passwords = "{} app passwords stop working";
    will_stop_token = "{} token of an application stops working";
    will_stop_tokens = "{} tokens of applications stop working";
    will_delete_client = "{} application of this person is deleted";
    will_delete_clients = "{} applications of this person are deleted";
    will_arrive = "Mail keeps arriving";
    will_not_arrive = "No mail arrives any more";
    will_change_role = "The role changes from {} to {}";
    will_be_main_address = "{} becomes the main address: the login name, and what others see";
    will_take_address = "{} is taken into use";
    will_stay_address = "{} stays an address of this account";
    will_stay_addresses = "{} addresses of this account stay";
    will_keep_address = "{} is given up; it is kept for this account until {}";
    will_tell = "The person is told by mail";

    // After it.
    no_such_change = "there is no such change here";
    change_title = "What became of the change";
    change_done = "Done";
    change_running = "Under way";
    change_number = "Change";
    look_again = "Look again";
    part_project = "The mail servers' look-ups";
    part_project_on = "The look-ups on {}";
    part_sessions = "Open mail sessions on {}";
    part_sessions_nowhere = "Open mail sessions";
    part_person = "Message to the person";
    part_pending = "waiting";
    part_applied = "done";
    part_verified = "done and checked";
    part_not_configured = "not set up";
    account_is_secured = "The account is taken back";
    secured_next = "What to do next";
    secured_tell = "Give the person the one-time password by telephone or in person: letters may have been read.";
    secured_sending = "Nothing is sent from the account now. Allow sending again when the person is back.";
    secured_factors_left = "A second factor is still set up that may be a stranger's. Have a super administrator take the account back too, or ask the person to look at the own passkeys and apps.";
    secured_clients = "These applications act as the person by a secret of their own, and go on. Switch off what the person does not know: {}.";
    secured_look = "Look below at what was done lately, and undo what the person did not do.";
    secured_ended = "What ended";
    secured_nothing_open = "Nothing was open.";
    ended_browser = "{} signed-in browser";
    ended_browsers = "{} signed-in browsers";
    ended_app_password = "{} app password";
    ended_app_passwords = "{} app passwords";
    ended_token = "{} token of an application";
    ended_tokens = "{} tokens of applications";
    ended_session = "{} mail session";
    ended_sessions = "{} mail sessions";
    ended_unknown_on_server = "Mail sessions on {}; how many were open it did not say";
    secured_present = "Who was there";
    secured_nobody = "No browser and no mail program was signed in.";
    secured_program = "Browser or mail program";
    mail_program_on = "{} on {}, {}";
    with_main_password = "with the main password";
    with_app_password = "with an app password";
    secured_by = "What was done from the account";
    secured_by_hint = "By the person, or by whoever was in the account. The newest stands first.";
    secured_about = "What was done to the account";
    secured_about_hint = "Before it was taken back, by anybody. The newest stands first.";
    secured_nothing = "Nothing was noted.";
    password_is_reset = "The password is reset";
    one_time_for = "One-time password for";
    one_time_shown_once = "Shown this once: it is stored nowhere. Read it out, or copy it.";
    one_time_ends = "It ends";
    one_time_how = "The person signs in here with it and then chooses a new password. Mail programs work with the new one.";
    back_to_user = "Back to the user";

    // Many users at once.
    choose = "Choose";
    choose_user = "Choose {}";
    with_chosen = "With those chosen:";
    nobody_chosen = "choose somebody in the list first";
    too_many_chosen = "choose at most {} people at once";
    one_user = "{} user";
    so_many_users = "{} users";
    bulk_title = "{}: {}";
    bulk_changes_one = "{} user changes";
    bulk_changes = "{} users change";
    bulk_not_oneself = "You are left out: nobody does this to the own account.";
    bulk_cannot = "{}: {}";
    job_count = "{} of {} done, {} of them failed.";
    job_hint = "Each line is a change of its own and stands in the history. This list is kept for an hour in the memory of the server that does the work. What was done stays done when it is gone; one-time passwords that nobody fetched go with it.";
    no_such_job = "this list is not kept any more, or another server has it; what was done stands in the audit log";
    too_many_jobs = "sixteen lists of yours are still at work or have one-time passwords that were not fetched; nothing was begun: fetch the passwords of the earlier lists or wait for them, each is kept for an hour";
    line_failed = "failed";
    password_waits = "{} one-time password can be fetched once, as a file. It is stored nowhere.";
    passwords_wait = "{} one-time passwords can be fetched once, as a file. They are stored nowhere.";
    fetch_passwords = "Fetch the one-time passwords";
    passwords_were_taken = "the one-time passwords were fetched already; reset the passwords again to make new ones";
    csv_address = "address";
    csv_one_time = "one-time password";
    add_user_hint = "A one-time password is made and shown to you once; with it the person chooses a password of their own.";
    user_is_added = "The user is added";
    first_name = "First name";
    last_name = "Last name";
    display_name_hint = "Left empty, it is made of the two names.";
    list = "The list";
    list_hint = "A line of heads (address, first name, last name, display name), then a line for each person; with commas, semicolons or tabs, as a spreadsheet copies or saves it. At most 500 people at once, and some 200 where names are in other scripts than Latin.";
    check_list = "Check the list";
    change_list = "Change the list";
    list_checked = "{} of {} lines are good";
    import_hint = "Those whose lines are good are added, with a one-time password each. The others are left out.";
    import_title = "Add {}";
    line = "Line";
    line_good = "good";
    line_wrong = "left out";
    list_unreadable = "the list cannot be read as a table; look at its quotation marks";
    list_without_addresses = "the first line has no column named address; write a line of heads above the list";
    list_too_long = "the list has more than {} people; send it in parts";
    list_empty = "the list has nobody in it";
    no_good_line = "no line of the list is good";
    twice_in_list = "this address stands in the list twice";

    // The second factor at the sign-in.
    second_factor = "One more step";
    second_factor_hint = "Your account {} is protected by a second factor.";
    code = "Code";
    code_hint = "The six digits of your authenticator app, or one of your recovery codes.";
    use_passkey = "Use a passkey";
    sign_in_with_passkey = "Sign in with a passkey";
    no_factor_hint = "Lost the app, the passkey and the recovery codes? A super administrator of your organization can help.";
    lost_password = "Forgotten your password?";
    scripts_wanted = "Passkeys need scripts in this browser.";

    // My account.
    signs_in_normally = "You sign in normally.";
    mail_arrives = "Mail arrives.";
    mail_is_disabled = "Your mail account is disabled: mail keeps arriving, but you cannot read or send it. Set by {}, {}.";
    incoming_is_blocked = "Mail to you is refused. Set by {}, {}.";
    outgoing_is_blocked = "You can read mail, but not send it. Set by {}, {}.";
    imap_is_off = "IMAP is turned off. Set by {}, {}.";
    pop_is_off = "POP is turned off. Set by {}, {}.";
    by_you = "you";
    by_operator = "the operator of the server";
    by_clock = "Mailward, when a term ended";
    by_administrator = "an administrator";
    sign_in_and_password = "Sign-in and password";
    change_password = "Change the password";
    second_factors = "Second factors";
    factors_none = "None. A second factor keeps others out, even with your password.";
    look_after_factors = "Second factors and recovery codes";
    recovery_address = "Recovery address";
    recovery_none = "None. With one you can replace a forgotten password yourself.";
    recovery_by_desk = "Your password is recovered by another super administrator, or at the server.";
    mailbox = "Mailbox";
    mail_on = "You can read and send mail.";
    disable_mail = "Disable my mail";
    disable_mail_hint = "Nobody can read or send your mail until you enable it again, not with the password and not with an app password. Every open mail session ends now. Mail keeps arriving, and you can still sign in here.";
    enable_mail = "Enable my mail";
    enable_hint = "Lifts what you have set yourself.";
    unblock_incoming = "Accept mail for me again";
    block_not_yours = "{} set this. Nobody lifts a block of somebody else on the own account: ask an administrator.";
    addresses_and_name = "Addresses and name";
    primary_address = "Primary address";
    change_addresses = "Change address or name";
    app_passwords_hint = "A password of its own for each device or program. Losing one costs nothing but that one.";
    app_passwords_none = "There is no app password. Make one for your telephone, so that your own password stays with you.";
    look_after_app_passwords = "App passwords";
    one_app_password = "{} app password";
    many_app_passwords = "{} app passwords";
    sessions_and_applications = "Sessions and applications";
    one_session = "{} browser is signed in";
    many_sessions = "{} browsers are signed in";
    one_application = "{} application is connected";
    many_applications = "{} applications are connected";
    look_after_sessions = "Sessions and applications";
    history_none = "Nothing yet.";
    to_my_account = "Back to my account";
    back = "Back";

    // My password.
    current_password = "Current password";
    wrong_current_password = "The current password is wrong. After several wrong tries even the right one is refused for a while.";
    end_elsewhere = "Sign me out everywhere else";
    end_elsewhere_hint = "Other browsers, applications and mail programs then need the new password. App passwords go on.";

    // My address and name.
    rename_hint = "Mail to the address before still reaches you, as one of your other addresses. Your mail program may go on with either.";
    rename_any = "You may take any free address of your organization, at most {} times in 30 days.";
    rename_alias = "You may choose among the addresses that you have already.";
    rename_off = "In your organization only an administrator changes an address.";
    save_address = "Make it my address";
    no_other_addresses = "none";
    save_name = "Save the name";

    // App passwords.
    new_app_password = "New app password";
    device_name = "Device or program";
    device_name_hint = "So that you know it again, as \"Telephone\".";
    expires_in_days = "Days until it ends";
    expires_hint = "Empty: it goes on until you revoke it.";
    make_app_password = "Make an app password";
    revoke = "Revoke";
    revoke_named = "Revoke {}";
    made = "Made";
    app_password_made = "Your new app password";
    app_password_label = "App password";
    app_password_once = "Type it into \"{}\" now, with your address {}. It is shown this once.";
    app_password_done = "I have typed it in";
    protocols = "For";

    // Sessions and applications.
    sessions = "Browsers";
    this_browser = "this browser";
    signed_in_at = "Signed in";
    last_seen = "Last seen";
    from_address = "From";
    browser = "Browser";
    places = "From where somebody signed in";
    places_hint = "Each place once, the latest first; mail programs are noted once a day. One that is unknown to the person may be a stranger's.";
    no_places = "Nowhere yet.";
    place_door = "By";
    first_time = "First time";
    last_time = "Last time";
    door_console = "These pages";
    door_password = "Choice of a password";
    door_mail = "Mail program";
    unknown_place = "unknown";
    end_session = "Sign out";
    end_others = "Sign out everywhere else";
    connected_applications = "Connected applications";
    no_applications = "No application is connected to your account.";
    application = "Application";
    may_do = "May";
    connected_at = "Connected";
    disconnect = "Disconnect";
    unknown_browser = "unknown";

    // Second factors.
    factors_hint = "With a second factor, your password alone does not sign in here. Mail programs go on with the password or an app password.";
    factor_demanded = "Your organization wants a second factor of you. Set one up to go on.";
    authenticator_app = "Authenticator app";
    app_in_use = "In use: signing in takes a code of it.";
    app_not_in_use = "An app on your telephone that shows a new code every 30 seconds.";
    set_up_app = "Set up an authenticator app";
    remove_app = "Remove the authenticator app";
    remove_app_hint = "Codes of it open nothing any more. Type your password to go on.";
    scan = "Scan this with your authenticator app:";
    scan_label = "QR code for the authenticator app";
    app_is_here = "The app is on this device: open it";
    or_type = "or type this key:";
    code_of_app = "Code that the app shows";
    confirm_app = "Use this app";
    passkeys = "Passkeys";
    passkeys_hint = "Your telephone, computer or a security key proves that it is you, with a finger, a face or a PIN.";
    passkeys_impossible = "Passkeys are not possible here: this service is reached by a number, or without HTTPS. Its operator sets server.public_url to a name.";
    passkey_name = "Name of the passkey";
    add_passkey = "Add a passkey";
    remove_passkey = "Remove";
    used = "Used";
    recovery_codes = "Recovery codes";
    codes_left_one = "{} code is left.";
    codes_left_many = "{} codes are left.";
    codes_hint = "Each one opens your account once in place of the second factor. Keep them on paper.";
    make_codes = "Make new codes";
    make_codes_hint = "The codes before stop to work.";
    your_codes = "Your recovery codes";
    codes_once = "Write them down or print this page: they are shown this once.";
    codes_done = "I have kept them";

    // Forgotten password.
    recover = "Forgotten password";
    recover_hint = "If your account has a recovery address, we send a link there with which you choose a new password. The link is good for 15 minutes.";
    recover_send = "Send the link";
    recover_sent = "If this account has a recovery address, a mail is on its way there. Look into that mailbox; the link in it is good for 15 minutes.";
    recover_otherwise = "No recovery address? Somebody at the desk of your organization gives you a one-time password.";
    recover_choose_hint = "Choose a new password for {}. Everything that is signed in with the old one ends.";
    recover_code_hint = "Your account has a second factor: a code of your authenticator app, or one of your recovery codes.";
    recover_done = "Your password is changed. Sign in with the new one.";
    link_is_over = "This link is used, replaced or older than 15 minutes.";
    link_again = "Ask for a new link";
    recovery_hint = "An address that you can read without the password of this account: not one of this mail service. If you forget your password, a link is sent there.";
    recovery_current = "Your recovery address is {}.";
    recovery_serves = "It serves.";
    recovery_waits = "A new address waits seven days before it serves, so that you would notice somebody else's. It serves from {} on.";
    recovery_not_for_admins = "Administrators do not recover their password by mail: another super administrator resets it, or the operator at the server. The address is used to tell you what happens to your account.";
    recovery_new = "New recovery address";
    recovery_prove = "Send a link to it";
    recovery_remove = "Remove the recovery address";
    recovery_prove_title = "Confirm the recovery address";
    recovery_prove_hint = "Shall {} be the recovery address of {}?";
    recovery_prove_yes = "Yes, use it";
    recovery_proved_title = "Confirmed";
    recovery_proved = "{} is the recovery address now. It serves in seven days.";

    // What was done, above a page.
    said_password = "Your new password works now.";
    said_address = "Your address is changed.";
    said_name = "Your name is changed.";
    said_revoked = "The app password opens nothing any more.";
    said_mail_off = "Your mail is disabled.";
    said_mail_on = "Your mail is enabled.";
    said_session = "Signed out there.";
    said_disconnected = "The application is disconnected.";
    said_factor_removed = "The second factor is removed.";
    said_factor_added = "The second factor is in use.";
    said_link_sent = "A link is on its way to the new address. Open it within 15 minutes.";
    said_recovery_removed = "There is no recovery address any more.";

    // What people did to the own account, as the history tells it.
    did_recover_password = "Password replaced through the recovery address";
    did_set_up_factor = "Second factor set up";
    did_remove_factor = "Second factor removed";
    did_remove_factors = "Second factors removed";
    did_make_codes = "New recovery codes made";
    did_use_code = "Recovery code used";
    did_name_recovery = "Recovery address named";
    did_set_recovery = "Recovery address confirmed";
    did_remove_recovery = "Recovery address removed";
    did_end_sessions = "Browsers signed out";
    did_disconnect = "Application disconnected";
    // Domains.
    no_such_domain = "there is no domain {} here";
    no_domains = "There is no domain yet. Add the first one.";
    primary_domain = "primary domain";
    domain = "Domain";
    domain_works = "Works";
    domain_off = "Switched off";
    domain_unverified = "Not verified yet";
    domain_verify_how = "Nobody can have an address on it yet. The operator of the server vouches that it is yours, at the command line there:";
    domain_code = "Verification code:";
    make_primary = "Make it the primary domain";
    make_primary_means = "It stands first wherever the organization's domain is named. No address changes.";
    domain_switch_off = "Switch the domain off";
    domain_off_means = "Nobody whose main address is on it can use mail programs, and open mail sessions end. Mail keeps arriving. Nothing is deleted.";
    domain_switch_on = "Switch the domain on";
    domain_on_means = "Mail programs work again for everybody whose main address is on it.";
    domain_remove = "Remove the domain";
    domain_leave_means = "It no longer receives mail here, and another organization can add it. Nobody may have an address on it any more; addresses that are kept for their former owners stay so.";
    domain_remove_means = "It was never verified, so nothing hangs on it.";
    add_domain = "Add a domain";
    did_remove_domain = "Domain removed";
    super_admins_manage = "Super administrators change this.";

    // Applications.
    applications_hint = "Programs that use the API. Each acts as its owner, and dies with the owner.";
    no_clients = "There is no application yet.";
    no_such_client = "there is no such application here";
    client_id = "Client id";
    client_owner = "Acts as";
    client_kind = "Kind";
    client_self = "a script of your own (self client)";
    client_web = "a web application (keeps a secret)";
    client_public = "an app without a secret (PKCE)";
    redirects = "Redirect addresses";
    redirects_hint = "One on each line, exactly as the application sends it. A self client needs none.";
    add_application = "Add an application";
    client_secret = "Client secret";
    client_secret_once = "Shown this once: only a fingerprint of it is stored. Copy it now.";
    client_without_secret = "It has no secret: it proves itself with PKCE.";
    client_switch_off = "Switch it off";
    client_off_means = "Its tokens do not work while it is off, and it gets no new ones.";
    client_switch_on = "Switch it on";
    client_on_means = "Tokens that have not ended meanwhile work again.";
    client_delete = "Delete it";
    client_delete_means = "Every code and token that it was given goes with it.";
    make_code = "Make a code";
    make_code_means = "For this self client: exchanged once for tokens that act as you, within ten minutes.";
    scopes = "Scopes, separated by commas";
    with_refresh_token = "With a refresh token";
    code_once = "Shown this once, and good for one exchange within ten minutes.";

    // The audit log.
    anything = "anything";
    person = "Person (address or zuid)";
    day_unreadable = "\"{}\" is no day; write it as 2026-06-01";
    question_unreadable = "the filter is not text";
    filter_unreadable = "The filter cannot be read as it stands, so nothing is listed.";
    nobody_with_it = "there is nobody with this address or id";
    deleted_by_zuid = "Who was deleted is found by zuid.";
    since = "From";
    until = "Until";
    show = "Show";
    whom = "Whom";
    no_entries = "Nothing was done in this time, or the filter fits nothing. Widen it.";
    as_table = "Download as a table (CSV)";
    as_lines = "Download as lines of JSON";
    export_hint = "The newest 10,000 entries of this filter.";
    earlier_entries = "Earlier entries";

    // Mail servers.
    server_answers = "Answers";
    server_fails = "Does not answer:";
    server_ours = "Kept by this service";
    one_waits = "{} waits";
    so_many_wait = "{} wait";
    waiting = "Waiting effects";
    waiting_since = "Oldest since";
    server_not_set_up = "Not set up:";
    lookups_not_set_up = "mail.auth_dir and mail.maps_dir are empty";
    no_mail_servers = "No mail server is known yet. The look-ups are kept all the same; open sessions are ended once a server is known.";
    no_mail_servers_at_all = "No mail server is known yet.";
    servers_how = "How servers are added";
    servers_how_hint = "The operator makes them known at the command line of this server, where their keys are:";

    // Refusals.
    signed_out = "You are signed out";
    not_allowed = "Not allowed";
    not_found = "Not found";
    not_done = "Nothing was changed";
    too_many = "Too many tries";
    not_now = "Not now";
    failed = "Something failed";
    not_for_you = "Your role does not reach this.";
    our_fault = "This is our fault, not yours. Nothing was changed; tell the operator the number below.";
    another_was_faster = "Somebody else changed this at the same moment. Look at it again, then repeat what you wanted.";
    no_such_page = "there is no such page";
    forged_form = "this form was not sent from a page of yours, or the page is too old; open the page again and repeat what you wanted";
    request = "Request";
    to_the_start = "To the start page";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::recovery::{LINK_LASTS, WAITS};
    use crate::clock::{DAY, MINUTE};
    use crate::domain::policy::SELF_RENAME_TERM;

    #[test]
    fn texts_name_the_terms_that_hold() {
        let t = &ENGLISH;
        let minutes = format!("{} minutes", LINK_LASTS / MINUTE);
        for text in [t.recover_hint, t.recover_sent, t.link_is_over, t.said_link_sent] {
            assert!(text.contains(&minutes), "{text}");
        }
        assert_eq!(WAITS, 7 * DAY);
        for text in [t.recovery_waits, t.recovery_proved] {
            assert!(text.contains("seven days"), "{text}");
        }
        assert!(t.rename_any.contains(&format!("{} days", SELF_RENAME_TERM / DAY)));
    }

    #[test]
    fn values_stand_where_the_text_has_braces() {
        assert_eq!(fill("{} of {} done", &[&2, &"three"]), "2 of three done");
        assert_eq!(fill("nothing", &[&1]), "nothing");
        assert_eq!(count(1, "{} session ends", "{} sessions end"), "1 session ends");
        assert_eq!(count(0, "{} session ends", "{} sessions end"), "0 sessions end");
    }
}
