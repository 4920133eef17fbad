# Everything; nothing of it does anything before it is enabled.
{
  imports = [
    ./neard
    ./kneard
    ./consul
    ./monitoring
  ];
}
