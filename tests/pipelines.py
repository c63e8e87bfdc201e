"""Diffusers pipelines of every class, tiny and random."""

import diffusers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WORDS = ("white", "hair", "smile")
LENGTH = 12
SIZE = 16  # pixels; the autoencoders below halve it


def tokenizer():
    vocab = [chr(c) + end for c in range(97, 123) for end in ("", "</w>")]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = ["".join(parts[:2])]
            vocab.append(parts[0])
    vocab = [*vocab, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({token: i for i, token in enumerate(vocab)}, merges, model_max_length=LENGTH)


def clip(kind=CLIPTextModel):
    token = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(token), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=16, bos_token_id=token.bos_token_id,
        eos_token_id=token.eos_token_id, pad_token_id=token.pad_token_id,
    )  # fmt: skip
    return kind(config)


def t5():
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{w}", -1.0) for w in WORDS)]
    config = T5Config(vocab_size=16, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"model": T5EncoderModel(config), "token": T5Tokenizer(words, extra_ids=0, model_max_length=LENGTH)}


def autoencoder(**options):
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=SIZE, **options,
    )  # fmt: skip


def unet(width=16, **options):
    return diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, cross_attention_dim=width, **options,
    )  # fmt: skip


def sd(prediction="epsilon"):
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction
    )
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(scaling_factor=0.5), text_encoder=clip(), tokenizer=tokenizer(), unet=unet(),
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl():
    net = unet(
        32, addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 16
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.2), text_encoder=clip(), text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(), tokenizer_2=tokenizer(), unet=net,
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    )  # fmt: skip


def sd3():
    net = diffusers.SD3Transformer2DModel(
        sample_size=SIZE // 2, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=32,
        pos_embed_max_size=8,
    )  # fmt: skip
    text = t5()
    return diffusers.StableDiffusion3Pipeline(
        transformer=net, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=clip(CLIPTextModelWithProjection), text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(), tokenizer_2=tokenizer(), text_encoder_3=text["model"], tokenizer_3=text["token"],
    )  # fmt: skip


def flux():
    net = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=32, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    text = t5()
    return diffusers.FluxPipeline(
        transformer=net, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(scaling_factor=0.3, shift_factor=0.1), text_encoder=clip(), tokenizer=tokenizer(),
        text_encoder_2=text["model"], tokenizer_2=text["token"],
    )  # fmt: skip
