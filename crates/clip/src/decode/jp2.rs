//! JPEG 2000: files and bare codestreams. The wavelets of a large picture are only followed as far as is wanted.

use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext, Image};

use super::{DecodeError, Flat, Job, Wanted, rgb};

/// Working memory per pixel and channel: coefficients and samples as floats.
const BYTES_PER_SAMPLE: u64 = 8;

pub(super) fn decode(job: &Job<'_>, bytes: &[u8]) -> Result<Flat, DecodeError> {
    let open = |settings| Image::new(bytes, &settings).map_err(|error| job.malformed(&error));
    let settings = DecodeSettings { strict: true, ..DecodeSettings::default() };
    let mut image = open(settings)?;
    let full = (image.width(), image.height());
    let pixels = job.check_size(full.0, full.1)?;
    let channels = u64::from(image.color_space().num_channels()) + 1;
    job.check_memory(pixels.saturating_mul(channels * BYTES_PER_SAMPLE))?;
    if let Wanted::ShortEdge(edge) = job.wanted {
        let short = full.0.min(full.1).max(1);
        let target = |edge_full: u32| {
            (u64::from(edge_full) * u64::from(edge)).div_ceil(u64::from(short)) as u32
        };
        if edge < short {
            let target_resolution = Some((target(full.0), target(full.1)));
            image = open(DecodeSettings { target_resolution, ..settings })?;
        }
    }
    let profile = match image.color_space() {
        ColorSpace::Icc { profile, num_channels: 3 } => Some(profile.clone()),
        _ => None,
    };
    let mut context = DecoderContext::default();
    let samples = image.decode(&mut context).map_err(|error| job.malformed(&error))?.data_u8();
    job.check_deadline()?;
    rgb::from_samples(image.width(), image.height(), samples)
        .map(|rgb| Flat { rgb, full, profile })
        .ok_or_else(|| job.malformed(&"its channels are neither grey nor RGB"))
}
