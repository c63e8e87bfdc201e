"""How the shipped models of the avatars domain were made, from nothing. In this order, from the repository's root:

    python -m recipes.data --count 60000
    python -m recipes.vae
    python -m recipes.teacher
    for s in tiny small full encoder joint detail mapping; do python -m recipes.inversion --stage $s; done
    python -m recipes.identity --draw && python -m recipes.identity
    python -m recipes.judge
    python -m recipes.clip --which embedded && python -m recipes.clip --which judge
    python -m recipes.ship && python -m recipes.cards

Each resumes where it was killed, shows its progress, logs to `log.jsonl` and draws what it learned so far, all under
`$SDD_HOME/recipes` (by default ~/.cache/sdd/recipes). They use CUDA where there is one. The default numbers of steps
are about what made the shipped models (the cards say where they differ), on two cores, two recipes at a time with one
thread each (`--threads 1`); more steps make better ones.
"""
