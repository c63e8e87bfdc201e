"""*Selective Diffusion Distillation* (ICCV 2023, arXiv 2307.08448), equation by equation, and nothing else.

    guidance      (7)     the teacher's gradient, the U-Net's Jacobian skipped
    search        (8)     that gradient on the source image, asked of a teacher at every timestep
    hqs           (9-12)  entropy, strength, and the hybrid quality score of them
    timesteps             S = {t : HQS_t > ξ}
    objective     (7)     the guidance bound to a prompt, and the L2 and identity losses of Section 5.1
    step, algorithm       Algorithm 1
    cost          (13-15) what an edit costs, and from how many on training pays

What is ours lives in `sdd.beyond` and is handed in as a guidance, a term or a schedule; nothing here knows of it, of
the configuration, or of a domain.
"""
