//! A mail server that takes every mail, but to whom it is told to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Which addresses are refused, and with which reply; may change at any time.
pub type Refusals = Arc<Mutex<BTreeMap<String, &'static str>>>;

/// Its address; what it took comes out of the channel.
pub async fn postbox() -> (String, Receiver<String>) {
    postbox_that_refuses(Refusals::default()).await
}

pub async fn postbox_that_refuses(refusals: Refusals) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (sender, mails) = channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_mail(stream, sender.clone(), Arc::clone(&refusals)));
        }
    });
    (address, mails)
}

async fn take_mail(stream: TcpStream, mails: Sender<String>, refusals: Refusals) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 postbox\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        if line != "DATA" {
            let recipient = line.strip_prefix("RCPT TO:<").and_then(|rest| rest.split('>').next());
            let refused = recipient.and_then(|to| refusals.lock().expect("a lock").get(to).copied());
            let good = if line == "QUIT" { "221 bye" } else { "250 good" };
            writer.write_all(format!("{}\r\n", refused.unwrap_or(good)).as_bytes()).await?;
            continue;
        }
        writer.write_all(b"354 go on\r\n").await?;
        let mut mail = String::new();
        while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
            mail.push_str(&line);
            mail.push('\n');
        }
        // The test may have seen enough.
        let _ = mails.send(mail).await;
        writer.write_all(b"250 taken\r\n").await?;
    }
    Ok(())
}
