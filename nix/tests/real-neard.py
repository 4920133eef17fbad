# The real neard writes no journal of its signatures, so the verdict is what the chain and the nodes say.


def verdict() -> str:  # noqa: F811
    """Fails unless at most one of the validators that run has the key."""
    with_key = [
        machine.name
        for machine in validators
        if machine.is_up() and machine.execute(neard_has_key())[0] == 0
    ]
    assert len(with_key) <= 1, f"{with_key} have the key at once"
    return f"verdict: the key is with {', '.join(with_key) or 'nobody'}"
