"""Forges: pull requests at GitHub, GitLab and Gitea open, update and close environments by themselves.

Nouns: forge link (a project and its repository at a forge), preview (a pull request, or a branch that is followed, and
what became of it), delivery (one call of a webhook).
Promises: nothing unsigned has an effect; a call that comes twice, late or out of order changes nothing that is newer; a
pull request from a fork sees no secret and is built only when somebody says so, commit by commit, unless the link says
otherwise; its environment goes when it is closed; whatever dies in between, the next start goes on.
Never: trusts a payload where it can ask the forge; shows a token to git's command line, a log or a redirect.
"""
