//! A mail server that takes every mail.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Its address; what it took comes out of the channel.
pub async fn postbox() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (sender, mails) = channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_mail(stream, sender.clone()));
        }
    });
    (address, mails)
}

async fn take_mail(stream: TcpStream, mails: Sender<String>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 postbox\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        if line != "DATA" {
            writer.write_all(if line == "QUIT" { b"221 bye\r\n" } else { b"250 good\r\n" }).await?;
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
