"""Puts a checkpoint onto a Hugging Face hub: `python -m ... FOLDER REPO MESSAGE`.

A process of its own, so that a slow or broken hub can hold up nothing, and can be given up. It
prints the commit's id. Whatever goes wrong ends in a last line on standard error that says what.
The hub's own library finds the token (HF_TOKEN, or what `hf auth login` stored) and, where it is
not the usual one, the hub (HF_ENDPOINT).
"""

from __future__ import annotations

import sys


def main(folder: str, repo: str, message: str) -> int:
    """Upload, as the next commit of the repository's main branch; 0 when it is there."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        sys.stderr.write(
            "huggingface_hub is not installed; install it with: pip install 'psyche-p2p[hub]'\n"
        )
        return 1
    api = HfApi()
    # a model that nobody decided to show is not shown
    api.create_repo(repo, private=True, exist_ok=True)
    done = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    sys.stdout.write(f"{done.oid}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
