//! JPEG XL. The orientation is part of the codestream and applied by the decoder, whose allocations are counted.

use jxl_oxide::{AllocTracker, InitializeResult, JxlImage, JxlThreadPool};

use super::{DecodeError, Flat, Job, rgb};

pub(super) fn decode(job: &Job<'_>, bytes: &[u8]) -> Result<Flat, DecodeError> {
    let memory = usize::try_from(job.limits.max_alloc_bytes).unwrap_or(usize::MAX);
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        if error.to_string().contains("failed to allocate") {
            return job.too_much_memory();
        }
        job.malformed(&error)
    };
    let mut uninit = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(memory))
        .build_uninit();
    let consumed = uninit.feed_bytes(bytes).map_err(failed)?;
    let mut image = match uninit.try_init().map_err(failed)? {
        InitializeResult::Initialized(image) => image,
        InitializeResult::NeedMoreData(_) => return Err(job.truncated("its header is not whole")),
    };
    let (width, height) = (image.width(), image.height());
    let pixels = job.check_size(width, height)?;
    job.check_memory(pixels.saturating_mul(3))?;
    let mut rest = &bytes[consumed.min(bytes.len())..];
    while !rest.is_empty() && !image.is_loading_done() {
        job.check_deadline()?;
        let consumed = image.feed_bytes(rest).map_err(failed)?;
        if consumed == 0 {
            break;
        }
        rest = &rest[consumed.min(rest.len())..];
    }
    if !image.is_loading_done() && image.num_loaded_keyframes() == 0 {
        return Err(job.truncated("its first frame is not whole"));
    }
    job.check_deadline()?;
    let render = image.render_frame(0).map_err(failed)?;
    job.check_deadline()?;
    let profile = Some(image.rendered_icc());
    let mut stream = render.stream();
    let (width, height, channels) = (stream.width(), stream.height(), stream.channels());
    job.check_size(width, height)?;
    let mut samples = vec![0_u8; width as usize * height as usize * channels as usize];
    stream.write_to_buffer(&mut samples);
    rgb::from_samples(width, height, samples)
        .map(|rgb| Flat { profile, ..Flat::unscaled(rgb) })
        .ok_or_else(|| job.malformed(&"its channels are neither grey nor RGB"))
}
