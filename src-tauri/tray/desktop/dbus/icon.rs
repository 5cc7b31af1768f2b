//! The tray's pictures, drawn for light and for dark panels, as StatusNotifier wants them.

use std::io::Cursor;

use kalit_shell::menu::Picture;
use ksni::Icon;
use zbus::zvariant::Value;

use super::ground::Ground;

/// The picture for a state on a ground: ARGB, 32 bits a pixel, network byte order.
pub fn pixmap(picture: Picture, ground: Ground) -> Vec<Icon> {
    decoded(png(picture, ground)).into_iter().collect()
}

fn png(picture: Picture, ground: Ground) -> &'static [u8] {
    macro_rules! tray {
        ($name:literal) => {
            include_bytes!(concat!("../../../../icons/tray/", $name, "-32.png"))
        };
    }
    match (picture, ground) {
        (Picture::Healthy, Ground::Light) => tray!("healthy-on-light"),
        (Picture::Healthy, Ground::Dark) => tray!("healthy-on-dark"),
        (Picture::Notice, Ground::Light) => tray!("notice-on-light"),
        (Picture::Notice, Ground::Dark) => tray!("notice-on-dark"),
        (Picture::Risk, Ground::Light) => tray!("risk-on-light"),
        (Picture::Risk, Ground::Dark) => tray!("risk-on-dark"),
        (Picture::SignedOut, Ground::Light) => tray!("signed-out-on-light"),
        (Picture::SignedOut, Ground::Dark) => tray!("signed-out-on-dark"),
        (Picture::Paused, Ground::Light) => tray!("paused-on-light"),
        (Picture::Paused, Ground::Dark) => tray!("paused-on-dark"),
    }
}

/// Kalit's own picture beside a notification, as its `image-data` wants it.
pub fn image_data() -> Option<Value<'static>> {
    let (width, height, pixels) = rgba(include_bytes!("../../../../icons/128x128.png"))?;
    let (has_alpha, bits_per_sample, channels) = (true, 8_i32, 4_i32);
    Some(Value::from((
        width,
        height,
        width * channels,
        has_alpha,
        bits_per_sample,
        channels,
        pixels,
    )))
}

fn decoded(file: &[u8]) -> Option<Icon> {
    let (width, height, mut data) = rgba(file)?;
    for pixel in data.chunks_exact_mut(4) {
        pixel.rotate_right(1);
    }
    Some(Icon { width, height, data })
}

/// Width, height and pixels; `None` for a picture that is not 8-bit RGBA. The test below sees to it
/// that all are.
fn rgba(file: &[u8]) -> Option<(i32, i32, Vec<u8>)> {
    let mut reader = png::Decoder::new(Cursor::new(file)).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut pixels).ok()?;
    if (frame.color_type, frame.bit_depth) != (png::ColorType::Rgba, png::BitDepth::Eight) {
        return None;
    }
    Some((
        i32::try_from(frame.width).ok()?,
        i32::try_from(frame.height).ok()?,
        pixels,
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_notification_has_a_picture() {
        let value = image_data().unwrap();
        assert_eq!(value.value_signature().to_string(), "(iiibiiay)");
    }

    #[test]
    fn every_state_has_a_picture_of_its_own_on_either_ground() {
        let mut seen = BTreeSet::new();
        for ground in [Ground::Light, Ground::Dark] {
            for picture in [
                Picture::Healthy,
                Picture::Notice,
                Picture::Risk,
                Picture::SignedOut,
                Picture::Paused,
            ] {
                let icon = pixmap(picture, ground).remove(0);
                assert_eq!((icon.width, icon.height, icon.data.len()), (32, 32, 4096));
                // the corner of a shape on nothing: alpha comes first
                assert_eq!(icon.data[0], 0);
                assert!(seen.insert(icon.data));
            }
        }
    }
}
