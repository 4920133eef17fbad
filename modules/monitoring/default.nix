# Prometheus and Grafana for kneard. The rules and the dashboard are plain files beside this one.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.kuutamo.monitoring;
  targets =
    default: description:
    mkOption {
      type = types.listOf types.str;
      inherit default description;
      example = [
        "10.0.0.1"
        "10.0.0.2"
      ];
    };
  job =
    name: port: hosts: more:
    {
      job_name = name;
      # A takeover is over within seconds.
      scrape_interval = "5s";
      static_configs = [ { targets = map (host: "${host}:${toString port}") hosts; } ];
    }
    // more;
in
{
  options.kuutamo.monitoring = {
    prometheus = {
      enable = lib.mkEnableOption "scraping of kneard, neard and Consul, and the alerts, in this host's Prometheus";
      hosts = targets [
        "localhost"
      ] "Hosts with kneard; its exporter and neard's RPC must be reachable from here.";
      consulHosts =
        targets [ ]
          "Hosts whose Consul API is reachable from here, for the time that writes take.";
      exporterPort = mkOption {
        type = types.port;
        default = 2233;
        description = "Port of kneard's exporter.";
      };
      neardPort = mkOption {
        type = types.port;
        default = 3030;
        description = "Port of neard's RPC.";
      };
    };
    grafana.enable = lib.mkEnableOption "kneard's dashboard in this host's Grafana";
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.prometheus.enable {
      services.prometheus = {
        enable = lib.mkDefault true;
        ruleFiles = [ ./alerts.yml ];
        scrapeConfigs = [
          (job "kneard" cfg.prometheus.exporterPort cfg.prometheus.hosts { })
          (job "neard" cfg.prometheus.neardPort cfg.prometheus.hosts { })
        ]
        ++ lib.optional (cfg.prometheus.consulHosts != [ ]) (
          job "consul" 8500 cfg.prometheus.consulHosts {
            metrics_path = "/v1/agent/metrics";
            params.format = [ "prometheus" ];
          }
        );
      };
    })
    (lib.mkIf cfg.grafana.enable {
      services.grafana.provision = {
        enable = lib.mkDefault true;
        dashboards.settings.providers = [
          {
            name = "kneard";
            options.path = ./dashboard.json;
          }
        ];
      };
    })
  ];
}
