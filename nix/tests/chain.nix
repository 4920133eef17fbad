# The homes of a chain's four validators, of which the last is ours, and of two more nodes. Its keys are
# in the Nix store, for all to read: it is a test.
{
  pkgs,
  neard,
  chainId,
  account,
  address,
}:
pkgs.runCommand "chain-${chainId}"
  {
    nativeBuildInputs = [
      neard
      pkgs.jq
    ];
  }
  ''
    neard --home $out localnet --shards 1 --v 4 --n 2
    edit() {
      jq --arg chain ${chainId} --arg account ${account} --argjson number "$1" --arg boot "$boot" "$3" "$2" >edited
      cp edited "$2"
    }
    boot=$(jq -r .public_key $out/node0/node_key.json)@${address}:24567
    for number in 0 1 2 3 4 5; do
      home=$out/node$number
      edit $number $home/config.json '
        ($number < 3) as $ofTheChain
        | (if $ofTheChain then $number else 0 end) as $offset
        | .rpc.addr = "\(if $ofTheChain then "0.0.0.0" else "127.0.0.1" end):\(3030 + $offset)"
        | .network.addr = "0.0.0.0:\(24567 + $offset)"
        | .network.boot_nodes = (if $number == 0 then "" else $boot end)
        | .consensus.min_num_peers = 1
        | if $chain == "localnet" then . else
            # A node that has its key from the start must not track all shards on a public chain.
            del(.tracked_shards)
            | .tracked_shards_config = (if $ofTheChain then "NoShards" else {ShadowValidator: $account} end)
            | .store.load_mem_tries_for_tracked_shards = true
          end'
      edit $number $home/genesis.json '.chain_id = $chain | .epoch_length = 10000'
    done
  ''
