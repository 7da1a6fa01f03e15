//! An authenticator without a device: one ES256 key that knows its owner, with the presence and the PIN
//! of somebody who always agrees (WebAuthn level 3, sections 6 and 7).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PRESENT_AND_VERIFIED: u8 = 0x05;
const HAS_CREDENTIAL: u8 = 0x40;

pub struct Authenticator {
    key: EcdsaKeyPair,
    credential: [u8; 16],
    /// What the page is called that asks.
    pub origin: String,
    pub counter: u32,
    owner: Value,
}

impl Authenticator {
    pub fn new(origin: &str) -> Self {
        let chance = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &chance).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &chance);
        let key = key.expect("its own key");
        let mut credential = [0; 16];
        credential.copy_from_slice(&Sha256::digest(key.public_key())[..16]);
        Self { key, credential, origin: origin.to_owned(), counter: 0, owner: Value::Null }
    }

    fn client_data(&self, what: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["publicKey"]["challenge"];
        json!({"type": what, "challenge": challenge, "origin": self.origin, "crossOrigin": false})
            .to_string()
            .into_bytes()
    }

    fn data(&mut self, party: &str, flags: u8) -> Vec<u8> {
        self.counter += 1;
        let mut data = Sha256::digest(party.as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// The answer to `navigator.credentials.create`.
    pub fn register(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        let public = &options["publicKey"];
        self.owner = public["user"]["id"].clone();
        let client_data = self.client_data("webauthn.create", &options);
        let mut data =
            self.data(public["rp"]["id"].as_str().expect("a party"), PRESENT_AND_VERIFIED | HAS_CREDENTIAL);
        data.extend([0; 16]);
        data.extend([0, 16]);
        data.extend(self.credential);
        // A COSE key in CBOR: {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(x);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(y);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).expect("less than 256 bytes"));
        object.extend(data);
        let id = URL_SAFE_NO_PAD.encode(self.credential);
        json!({"id": id, "rawId": id, "type": "public-key", "response": {
            "attestationObject": URL_SAFE_NO_PAD.encode(object),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data)}})
        .to_string()
    }

    /// The answer to `navigator.credentials.get`.
    pub fn prove(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        let client_data = self.client_data("webauthn.get", &options);
        let data = self.data(options["publicKey"]["rpId"].as_str().expect("a party"), PRESENT_AND_VERIFIED);
        let signed = [&data[..], &Sha256::digest(&client_data)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("a signature");
        let id = URL_SAFE_NO_PAD.encode(self.credential);
        json!({"id": id, "rawId": id, "type": "public-key", "response": {
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
            "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
            "userHandle": self.owner}})
        .to_string()
    }
}
